//! Making a tree smaller as long as it keeps what is wrong with it.

use anyhow::Result;
use serde_json::Value;
use yaml::Dialect;

use crate::tree::Tree;

/// Drops files, blocks of lines and options while `fails` holds, asking it at most `tries` times.
pub fn shrink(tree: Tree, tries: usize, fails: &mut dyn FnMut(&Tree) -> Result<bool>) -> Result<Tree> {
    let mut search = Search { tree, tries, fails };
    loop {
        let before = search.tree.clone();
        search.drop_files()?;
        search.reformat()?;
        search.drop_blocks()?;
        search.simplify_options()?;
        if search.tree == before || search.tries == 0 {
            return Ok(search.tree);
        }
    }
}

struct Search<'a> {
    tree: Tree,
    tries: usize,
    fails: &'a mut dyn FnMut(&Tree) -> Result<bool>,
}

impl Search<'_> {
    /// Goes on with the candidate if it fails as well.
    fn accept(&mut self, candidate: Tree) -> Result<bool> {
        if self.tries == 0 || candidate == self.tree {
            return Ok(false);
        }
        self.tries -= 1;
        let fails = (self.fails)(&candidate)?;
        if fails {
            self.tree = candidate;
        }
        Ok(fails)
    }

    fn paths(&self) -> Vec<String> {
        self.tree.files.keys().cloned().collect()
    }

    fn with(&self, path: &str, content: String) -> Tree {
        let mut candidate = self.tree.clone();
        candidate.files.insert(path.to_owned(), content);
        candidate
    }

    fn drop_files(&mut self) -> Result<()> {
        for path in self.paths() {
            let mut candidate = self.tree.clone();
            candidate.files.remove(&path);
            self.accept(candidate)?;
        }
        Ok(())
    }

    /// Writes files in blocks, an entry a line, so that lines are what can be left out.
    fn reformat(&mut self) -> Result<()> {
        for path in self.paths() {
            let text = &self.tree.files[&path];
            let Ok(documents) = yaml::parse(text, Dialect::V3) else {
                continue;
            };
            let values: Vec<Value> = documents
                .iter()
                .filter_map(|document| document.to_json().ok())
                .collect();
            if values.is_empty() || values.iter().any(|value| !value.is_object() && !value.is_array()) {
                continue;
            }
            let values: Vec<Value> = values.into_iter().map(unfold).collect();
            let text = yaml::to_string_all(&values);
            self.accept(self.with(&path, text))?;
        }
        Ok(())
    }

    fn drop_blocks(&mut self) -> Result<()> {
        for path in self.paths() {
            let mut at = 0;
            loop {
                let text = self.tree.files[&path].clone();
                let lines: Vec<&str> = text.split_inclusive('\n').collect();
                if at >= lines.len() || self.tries == 0 {
                    break;
                }
                let end = block_end(&lines, at);
                let without = |end: usize| [&lines[..at], &lines[end..]].concat().concat();
                let candidate = self.with(&path, without(end));
                if self.accept(candidate)? {
                    continue;
                }
                // The line alone, what is below it moves up.
                if lines.len() - at > 1 && end > at + 1 {
                    let candidate = self.with(&path, without(at + 1));
                    if self.accept(candidate)? {
                        continue;
                    }
                }
                // The first entry of a list's item, the dash goes to the next one.
                let line = lines[at];
                let indent = line.len() - line.trim_start().len();
                if let (Some(next), true) = (lines.get(at + 1), line.trim_start().starts_with("- "))
                    && next.starts_with(&" ".repeat(indent + 2))
                    && !next[indent + 2..].starts_with(' ')
                {
                    let joined = format!("{}- {}", " ".repeat(indent), &next[indent + 2..]);
                    let text = [&lines[..at], &[joined.as_str()], &lines[at + 2..]].concat().concat();
                    let candidate = self.with(&path, text);
                    if self.accept(candidate)? {
                        continue;
                    }
                }
                at += 1;
            }
        }
        Ok(())
    }

    fn simplify_options(&mut self) -> Result<()> {
        let mut candidate = self.tree.clone();
        candidate.sorted = false;
        self.accept(candidate)?;
        let mut candidate = self.tree.clone();
        candidate.free = false;
        self.accept(candidate)?;
        Ok(())
    }
}

/// Where what hangs on a line ends: at the next line that is not further in, items of its list aside.
fn block_end(lines: &[&str], at: usize) -> usize {
    let indent = |line: &str| line.len() - line.trim_start().len();
    let own = indent(lines[at]);
    let is_item = lines[at].trim_start().starts_with("- ");
    let mut end = at + 1;
    while let Some(line) = lines.get(end) {
        let inside = line.trim().is_empty()
            || indent(line) > own
            || (indent(line) == own && !is_item && line.trim_start().starts_with("- "));
        if !inside {
            break;
        }
        end += 1;
    }
    end
}

/// Texts that are YAML or JSON collections, written in blocks.
fn unfold(value: Value) -> Value {
    match value {
        Value::Object(entries) => entries.into_iter().map(|(key, value)| (key, unfold(value))).collect(),
        Value::Array(items) => items.into_iter().map(unfold).collect(),
        Value::String(text) => {
            let inner = yaml::parse(&text, Dialect::V3)
                .ok()
                .and_then(|documents| match documents.as_slice() {
                    [document] => document.to_json().ok(),
                    _ => None,
                });
            match inner {
                Some(inner @ (Value::Object(_) | Value::Array(_))) => Value::String(yaml::to_string(&inner)),
                _ => Value::String(text),
            }
        }
        other => other,
    }
}
