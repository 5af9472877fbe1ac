//! Packs. An input is a recipe for packs that follow one another, with right and wrong entries in them, or a stream as it is.
//! What is taken can be read and has the name it goes by, also after the packs were joined; what is made by the rules is
//! taken; what is refused leaves nothing behind.

use std::collections::BTreeMap;
use std::io::Cursor;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use git::pack::{self, Pack, Packs, Reader};
use gix::ObjectId;
use gix::hash::Kind;
use gix::objs::Kind as What;

use super::writer::{Writer, varint};

/// The largest object.
const LIMIT: u64 = 300;
/// No more packs and entries than this in one recipe.
const MOST_PACKS: usize = 4;
const MOST_ENTRIES: usize = 40;
/// Why nothing that is written fails.
const MEMORY: &str = "memory takes it";

/// A recipe: its first byte says which hash the packs have and whether a stream follows as it is.
pub fn check(input: &[u8]) {
    let Some((&first, rest)) = input.split_first() else {
        return;
    };
    let kind = if first & 1 == 0 { Kind::Sha1 } else { Kind::Sha256 };
    let mut shelf = Shelf::new(kind);
    if first & 2 != 0 {
        shelf.take(rest);
    } else {
        let mut recipe = Recipe(rest);
        while !recipe.0.is_empty() && shelf.packs.list().len() < MOST_PACKS {
            let made = Made::cook(&mut recipe, kind, &shelf.objects);
            let taken = shelf.take(&made.stream);
            assert!(taken || !made.is_sound, "a pack that is made by the rules is taken");
            if !taken {
                return;
            }
            shelf.objects.extend(made.objects);
        }
    }
    shelf.holds(&shelf.packs);
    shelf.join();
}

/// What is to be made, a byte at a time. Nothing is left when it is over.
struct Recipe<'a>(&'a [u8]);

impl Recipe<'_> {
    fn byte(&mut self) -> u8 {
        self.0.split_off_first().copied().unwrap_or_default()
    }

    fn bytes(&mut self) -> Vec<u8> {
        let length = usize::from(self.byte()).min(self.0.len());
        self.0.split_off(..length).unwrap_or_default().to_vec()
    }
}

/// Objects by name.
type Objects = BTreeMap<ObjectId, (What, Vec<u8>)>;

/// A pack with what should be in it.
struct Made {
    stream: Vec<u8>,
    /// Whether every entry is as it should be.
    is_sound: bool,
    objects: Objects,
}

impl Made {
    /// Makes the next pack of a recipe. Deltas in it may need what is in older ones.
    fn cook(recipe: &mut Recipe<'_>, kind: Kind, older: &Objects) -> Self {
        let mut made = Self {
            stream: Vec::new(),
            is_sound: true,
            objects: Objects::new(),
        };
        // What stands here, for deltas that count backwards.
        let mut places: Vec<(usize, ObjectId)> = Vec::new();
        let mut pack = Writer::default();
        while !recipe.0.is_empty() && (pack.count() as usize) < MOST_ENTRIES {
            let here = pack.place();
            let operation = recipe.byte() % 10;
            match operation {
                0..=3 => {
                    let what = [What::Blob, What::Tree, What::Commit, What::Tag][usize::from(operation)];
                    let content = recipe.bytes();
                    let number = [3, 2, 1, 4][usize::from(operation)];
                    let written = pack.object(number, content.len() as u64, &content);
                    written.expect(MEMORY);
                    places.push((here, made.add(kind, what, content)));
                }
                // Deltas as they should be: to a place in this pack, or to a name in any.
                4 | 5 => {
                    let choice = usize::from(recipe.byte());
                    let all: Vec<_> = made.objects.iter().chain(older).collect();
                    let by_place = (operation == 4)
                        .then(|| places.get(choice % places.len().max(1)))
                        .flatten();
                    let by_name = all.get(choice % all.len().max(1)).map(|(id, _)| **id);
                    let Some(base) = by_place.map(|(_, id)| *id).or(by_name) else {
                        continue;
                    };
                    let (what, content) = made
                        .objects
                        .get(&base)
                        .or_else(|| older.get(&base))
                        .expect("it was made");
                    let (what, from) = (*what, content.clone());
                    let (delta, content) = delta(recipe, &from);
                    let written = match by_place {
                        Some((place, _)) => pack.change_of_place((here - place) as u64, &delta),
                        None => pack.change_of_name(base.as_slice(), &delta),
                    };
                    written.expect(MEMORY);
                    made.is_sound &= content.len() as u64 <= LIMIT && delta.len() as u64 <= LIMIT;
                    places.push((here, made.add(kind, what, content)));
                }
                // A delta of any form, to any place or name.
                6 => {
                    let (back, delta) = (u64::from(recipe.byte()), recipe.bytes());
                    pack.change_of_place(back, &delta).expect(MEMORY);
                    made.is_sound = false;
                }
                7 => {
                    let (name, delta) = (recipe.byte(), recipe.bytes());
                    let known = made.objects.keys().chain(older.keys()).nth(usize::from(name));
                    let none = vec![name; kind.len_in_bytes()];
                    let name = known.map_or(none.as_slice(), |id| id.as_slice());
                    pack.change_of_name(name, &delta).expect(MEMORY);
                    made.is_sound = false;
                }
                // Bytes that are perhaps an entry, or half of one, or several.
                8 => {
                    pack.raw(&recipe.bytes());
                    made.is_sound = false;
                }
                _ => break,
            }
        }
        let count = pack.count();
        made.stream = pack.finish(count, |bytes| {
            let mut sum = gix::hash::hasher(kind);
            sum.update(bytes);
            sum.try_finalize().expect("no collision").as_slice().to_vec()
        });
        made
    }

    fn add(&mut self, kind: Kind, what: What, content: Vec<u8>) -> ObjectId {
        self.is_sound &= content.len() as u64 <= LIMIT;
        let id = gix::objs::compute_hash(kind, what, &content).expect("no collision");
        self.objects.insert(id, (what, content));
        id
    }
}

/// A delta of up to four parts, copied and inserted ones, and what it makes of its base.
fn delta(recipe: &mut Recipe<'_>, base: &[u8]) -> (Vec<u8>, Vec<u8>) {
    let (mut instructions, mut result) = (Vec::new(), Vec::new());
    for _ in 0..recipe.byte() % 5 {
        let choice = recipe.byte();
        if choice & 1 == 0 && !base.is_empty() {
            let from = usize::from(recipe.byte()) % base.len();
            let length = 1 + usize::from(recipe.byte()) % (base.len() - from);
            // Offset and length in two bytes each.
            instructions.extend([0xb3, from as u8, (from >> 8) as u8, length as u8, (length >> 8) as u8]);
            result.extend(&base[from..from + length]);
        } else {
            let text = recipe.bytes();
            let text = &text[..text.len().min(0x7f)];
            if !text.is_empty() {
                instructions.push(text.len() as u8);
                instructions.extend(text);
                result.extend(text);
            }
        }
    }
    let sizes = [varint(base.len() as u64), varint(result.len() as u64)].concat();
    ([sizes, instructions].concat(), result)
}

/// A directory that takes packs.
struct Shelf {
    directory: tempfile::TempDir,
    packs: Packs,
    /// What should be in them.
    objects: Objects,
}

impl Shelf {
    fn new(kind: Kind) -> Self {
        Self {
            directory: tempfile::tempdir().expect("a directory"),
            packs: Packs::new(Vec::new(), kind, LIMIT),
            objects: Objects::new(),
        }
    }

    fn at(&self) -> &Path {
        self.directory.path()
    }

    fn files(&self) -> usize {
        std::fs::read_dir(self.at()).expect("a directory").count()
    }

    /// Whether the stream was taken as the next pack.
    fn take(&mut self, stream: &[u8]) -> bool {
        let (number, before) = (self.packs.list().len() as u32 + 1, self.files());
        let stop = AtomicBool::new(false);
        match pack::receive(&mut Cursor::new(stream), self.at(), number, &self.packs, &stop) {
            Ok(Some(taken)) => {
                assert_eq!(self.files(), before + 2, "a pack and its index");
                let kind = self.packs.kind();
                let sums = Pack::sums(self.at(), number, kind).expect("files that are there");
                assert_eq!(
                    Pack::check(self.at(), number, kind).expect("files that are whole"),
                    sums
                );
                self.packs = self.packs.with(Some(taken));
                true
            }
            Ok(None) => {
                assert_eq!(self.files(), before, "a pack without objects leaves nothing behind");
                true
            }
            Err(_) => {
                assert_eq!(self.files(), before, "what is refused leaves nothing behind");
                false
            }
        }
    }

    /// What is in the index can be read and is what it is named after, and what was put in is there.
    fn holds(&self, packs: &Packs) {
        let mut reader = Reader::new(Arc::new(packs.with(None)));
        let mut content = Vec::new();
        for id in packs.list().iter().flat_map(|pack| self.names(pack.number())) {
            let what = reader
                .object(&id, &mut content)
                .expect("what is in the index can be read");
            assert_eq!(reader.size(&id).expect("and measured"), content.len() as u64);
            assert!(content.len() as u64 <= LIMIT);
            assert_eq!(gix::objs::compute_hash(packs.kind(), what, &content).ok(), Some(id));
        }
        for (id, (what, expected)) in &self.objects {
            assert_eq!(
                reader.object(id, &mut content).expect("what was put in is there"),
                *what
            );
            assert_eq!(&content, expected);
        }
    }

    fn names(&self, number: u32) -> Vec<ObjectId> {
        let index = pack::path(self.at(), number, "idx");
        let index = gix::odb::pack::index::File::at(index, self.packs.kind()).expect("an index");
        index.iter().map(|entry| entry.oid).collect()
    }

    /// Puts all packs into one, which holds the same.
    fn join(&self) {
        let kind = self.packs.kind();
        if self.packs.list().is_empty() {
            return;
        }
        let joined = pack::join(self.packs.list(), self.at(), 99, kind).expect("packs that can be joined");
        self.holds(&Packs::new(vec![joined], kind, LIMIT));
    }
}
