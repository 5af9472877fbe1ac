//! Which comment belongs to what. yaml.v3 decides by empty lines and columns; this follows it for everything outside of
//! brackets.

use libyaml_safer::Mark;

use super::{Comments, Content, Styled, StyledDocument};

/// A step from a collection to one of its parts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Slot {
    /// An item of a list.
    Item(usize),
    /// A key of a mapping.
    Key(usize),
    /// A value of a mapping.
    Value(usize),
}

/// Something in the text that is no comment.
#[derive(Debug)]
struct Token {
    start: Mark,
    end: Mark,
    path: Vec<Slot>,
    /// The block collections around it, the outermost first.
    around: Vec<Level>,
    /// How it is written.
    kind: TokenKind,
}

/// A block collection that is open somewhere.
#[derive(Debug, Clone, Copy)]
struct Level {
    /// How long the path to it is.
    depth: usize,
    /// The column of its parts.
    column: u64,
    /// Whether it is a mapping.
    map: bool,
}

/// What a token is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TokenKind {
    /// A bare scalar.
    Plain,
    /// A `|` or `>` text, which ends where the next thing begins.
    Block,
    /// Quoted text, an alias, or a closing bracket.
    Other,
}

impl Token {
    /// The column of what its line begins with, a dash included.
    fn line_column(&self) -> u64 {
        match self.path.as_slice() {
            // In the line of a dash stand the items of all lists that begin there.
            [.., Slot::Item(_)] => self.indent(),
            [.., Slot::Key(0)]
                if self.path.len() > 1 && matches!(self.path.get(self.path.len() - 2), Some(Slot::Item(_))) =>
            {
                let outer = self.around.len().checked_sub(2).and_then(|at| self.around.get(at));
                outer.map_or(self.start.column, |level| level.column)
            }
            _ => self.start.column,
        }
    }

    /// The column of the innermost block collection around it.
    fn indent(&self) -> u64 {
        self.around.last().map_or(0, |level| level.column)
    }
}

/// Where things stand in the text.
#[derive(Debug, Default)]
pub(super) struct Scan {
    tokens: Vec<Token>,
    /// The open block collections, as in [`Token::around`].
    around: Vec<Level>,
    /// Where the document ends.
    end: Option<Mark>,
}

impl Scan {
    /// A scalar or alias.
    pub fn leaf(&mut self, start: Mark, end: Mark, path: &[Slot], kind: TokenKind) {
        // What is not there has no place.
        if start.index == end.index {
            return;
        }
        self.tokens.push(Token {
            start,
            end,
            path: path.to_vec(),
            around: self.around.clone(),
            kind,
        });
    }

    /// The start of a block collection.
    pub fn open(&mut self, start: Mark, path: &[Slot], map: bool) {
        self.around.push(Level {
            depth: path.len(),
            column: start.column,
            map,
        });
    }

    /// The end of a block collection.
    pub fn close(&mut self) {
        self.around.pop();
    }

    /// The end of the document.
    pub fn end(&mut self, mark: Mark) {
        self.end = Some(mark);
    }

    /// Finds the comments of the text and puts them where they belong.
    pub fn attach(&self, text: &str, document: &mut StyledDocument) {
        if !text.contains('#') {
            return;
        }
        let last_line = self.end.map_or(u64::MAX, |mark| mark.line);
        let mut gap = Gap::default();
        for (number, line) in text.lines().enumerate() {
            let number = number as u64;
            if number > last_line {
                break;
            }
            let first = self.first_on(number);
            match comment(line, |column| self.inside(number, column)) {
                Some((column, comment)) if line.chars().take(column).all(|c| matches!(c, ' ' | '\t')) => {
                    gap.lines.push(Some((column as u64, comment.to_owned())));
                }
                trailing => {
                    if line.trim().is_empty() && first.is_none() {
                        gap.lines.push(None);
                        continue;
                    }
                    if let Some(next) = first {
                        self.settle(std::mem::take(&mut gap), Some(next), document);
                    }
                    if let Some((column, comment)) = trailing {
                        self.behind(number, column as u64, line, comment, document);
                    }
                    gap.lines.clear();
                    gap.before = self.last_until(number);
                    gap.after_colon = ends_in_colon(line, |column| self.inside(number, column));
                }
            }
        }
        self.settle(gap, None, document);
    }

    /// Whether a place is in a scalar.
    fn inside(&self, line: u64, column: u64) -> bool {
        let at = self
            .tokens
            .partition_point(|token| (token.start.line, token.start.column) <= (line, column));
        at.checked_sub(1)
            .and_then(|at| self.tokens.get(at))
            .is_some_and(|token| {
                let header = token.kind == TokenKind::Block && line == token.start.line;
                (line, column) < (token.end.line, token.end.column) && !header
            })
    }

    fn first_on(&self, line: u64) -> Option<usize> {
        let at = self.tokens.partition_point(|token| token.start.line < line);
        self.tokens.get(at).filter(|token| token.start.line == line).map(|_| at)
    }

    fn last_until(&self, line: u64) -> Option<usize> {
        self.tokens
            .partition_point(|token| token.start.line <= line)
            .checked_sub(1)
    }

    /// A comment in a line with something in front.
    fn behind(&self, line: u64, column: u64, text: &str, comment: &str, document: &mut StyledDocument) {
        let before = self
            .tokens
            .partition_point(|token| (token.start.line, token.start.column) < (line, column));
        let Some(token) = before.checked_sub(1).and_then(|at| self.tokens.get(at)) else {
            return;
        };
        let front = text.chars().take(column as usize).collect::<String>();
        if front.trim_end().ends_with('-') && token.start.line != line {
            // Behind the dash of an item it is above what follows.
            if let Some(comments) = self
                .tokens
                .get(before)
                .and_then(|next| find(&mut document.root, &next.path))
            {
                comment.clone_into(&mut comments.head);
            }
            return;
        }
        if front.trim_end().ends_with(['[', '{']) {
            return;
        }
        if let Some(comments) = find(&mut document.root, &token.path) {
            comment.clone_into(&mut comments.line);
        }
    }

    /// Puts the comments between two lines of content where they belong.
    fn settle(&self, gap: Gap, next: Option<usize>, document: &mut StyledDocument) {
        let next = next.and_then(|at| self.tokens.get(at));
        let before = gap.before.and_then(|at| self.tokens.get(at));
        let (feet, above) = gap.split(before, next);
        for foot in feet {
            match before {
                Some(before) => below(document, before, next, &foot),
                None => document.head.push_str(&foot.text),
            }
        }
        if above.is_empty() {
            return;
        }
        match next {
            None => document.foot = above.trim_end_matches('\n').to_owned(),
            Some(next) if before.is_none() => {
                // What an empty line sets apart is about the document.
                let whole = above.as_str();
                let (top, rest) = match whole.strip_suffix('\n') {
                    Some(top) => (top, ""),
                    None => whole.rsplit_once("\n\n").unwrap_or(("", whole)),
                };
                top.clone_into(&mut document.head);
                head(document, &next.path, rest);
            }
            Some(next) => head(document, &next.path, &above),
        }
    }
}

/// The lines between two lines of content.
#[derive(Debug, Default)]
struct Gap {
    /// The last thing before.
    before: Option<usize>,
    /// Whether that line ends in the colon of a key.
    after_colon: bool,
    /// Comments with their columns; none for an empty line.
    lines: Vec<Option<(u64, String)>>,
}

/// A comment below something.
struct Foot {
    text: String,
    /// The column it starts at, unless it stands right below what comes before, and not further left with an empty line
    /// behind it.
    column: Option<u64>,
}

impl Gap {
    /// The comments that belong to what comes before, and the text that belongs to what comes after.
    fn split(self, before: Option<&Token>, next: Option<&Token>) -> (Vec<Foot>, String) {
        let indent = before.map_or(0, Token::indent);
        let mut feet = Vec::new();
        let (mut text, mut start) = (String::new(), (0, 0));
        let mut take = |text: &mut String, column: Option<u64>, start_column: u64| {
            let text = std::mem::take(text);
            // Only the first stands right below what comes before.
            let column = if feet.is_empty() { column } else { Some(start_column) };
            if !text.is_empty() {
                feet.push(Foot { text, column });
            }
        };
        let mut recent_empty = false;
        let mut first_empty = self.lines.first().is_some_and(Option::is_some);
        // Below the first line of a text hardly anything is a foot, for yaml.v3 takes it for the beginning.
        let known = before.is_some_and(|token| token.kind != TokenKind::Other || token.end.line > 0);
        // The end of the text is like an empty line.
        let end = next.is_none().then_some(None);
        let lines = self.lines.len();
        for (at, line) in self.lines.into_iter().chain(end).enumerate() {
            let Some((column, comment)) = line else {
                if !recent_empty && !text.is_empty() {
                    let adjacent = known && start.0 == 0 && !self.after_colon;
                    if first_empty && (adjacent || start.1 < indent) {
                        take(&mut text, Some(start.1).filter(|column| *column < indent), start.1);
                    } else if at < lines {
                        text.push('\n');
                    }
                }
                first_empty = false;
                recent_empty = true;
                continue;
            };
            if column < indent && column != start.1 {
                take(&mut text, None, start.1);
            }
            if text.is_empty() {
                start = (at, column);
            } else {
                text.push('\n');
            }
            text.push_str(&comment);
            recent_empty = false;
        }
        if next.is_some_and(|next| next.line_column() < indent && next.line_column() != start.1) {
            take(&mut text, None, start.1);
        }
        (feet, text)
    }
}

/// Puts a comment above a key or item: of a collection's first part, above that part; of an item, above the item.
fn head(document: &mut StyledDocument, path: &[Slot], text: &str) {
    if text.is_empty() {
        return;
    }
    // The first key of a mapping that is an item of a list stands in the item's line: the comment is the item's.
    let mut path = path;
    while let [outer @ .., Slot::Key(0) | Slot::Item(0)] = path
        && let [.., Slot::Item(_)] = outer
    {
        path = outer;
    }
    if let Some(comments) = find(&mut document.root, path) {
        if !comments.head.is_empty() {
            comments.head.push('\n');
        }
        comments.head.push_str(text);
    }
}

/// Puts a comment below something. It is about the innermost mapping that ends there (one that stands further left, about
/// the one in its column), else about the entry before the next one.
fn below(document: &mut StyledDocument, before: &Token, next: Option<&Token>, foot: &Foot) {
    let key = |depth: usize| {
        let mut path = before.path.get(..=depth)?.to_vec();
        match path.pop()? {
            Slot::Value(at) | Slot::Key(at) => path.push(Slot::Key(at)),
            item => path.push(item),
        }
        Some(path)
    };
    let mut found = foot.column.is_none();
    let mut target = None;
    if let ([list @ .., Slot::Item(_)], None) = (before.path.as_slice(), foot.column)
        && (next.is_some_and(|next| next.path.starts_with(list))
            || find(&mut document.root, &before.path).is_some_and(|comments| comments.line.is_empty()))
    {
        target = Some(before.path.clone());
    }
    for (at, level) in before.around.iter().enumerate().rev() {
        let ends = next.is_none_or(|next| level.column > next.line_column());
        // A list in the column of its key does not end by itself.
        let outer = at.checked_sub(1).and_then(|at| before.around.get(at));
        if target.is_some() || !ends || (!level.map && outer.is_some_and(|outer| outer.column == level.column)) {
            continue;
        }
        found |= foot.column == Some(level.column);
        if found && level.map {
            target = key(level.depth);
        }
    }
    let target = target.or_else(|| {
        let mut path = next?.path.clone();
        if let Some(Slot::Key(at)) = path.last_mut() {
            *at = at.saturating_sub(1);
        }
        Some(path)
    });
    if let Some(comments) = target.and_then(|path| find(&mut document.root, &path)) {
        if !comments.foot.is_empty() {
            comments.foot.push('\n');
        }
        comments.foot.push_str(&foot.text);
    }
}

fn find<'a>(root: &'a mut Styled, path: &[Slot]) -> Option<&'a mut Comments> {
    let mut at = root;
    for slot in path {
        at = match (&mut at.content, slot) {
            (Content::List { items, .. }, Slot::Item(index)) => items.get_mut(*index)?,
            (Content::Map { entries, .. }, Slot::Key(index)) => &mut entries.get_mut(*index)?.0,
            (Content::Map { entries, .. }, Slot::Value(index)) => &mut entries.get_mut(*index)?.1,
            _ => return None,
        };
    }
    Some(&mut at.comments)
}

/// The comment of a line, with the column it starts at.
fn comment(line: &str, inside: impl Fn(u64) -> bool) -> Option<(usize, &str)> {
    let mut blank = true;
    for (column, (at, c)) in line.char_indices().enumerate() {
        if c == '#' && blank && !inside(column as u64) {
            return Some((column, line.get(at..)?.trim_end_matches('\r')));
        }
        blank = matches!(c, ' ' | '\t');
    }
    None
}

fn ends_in_colon(line: &str, inside: impl Fn(u64) -> bool) -> bool {
    let content = match comment(line, &inside) {
        Some((column, _)) => line.chars().take(column).collect(),
        None => line.to_owned(),
    };
    let content = content.trim_end();
    content.ends_with(':') && !inside(content.chars().count().saturating_sub(1) as u64)
}
