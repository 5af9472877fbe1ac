//! What a controller's watch has seen of each object: what is news, and what is gone.
//!
//! A watch that was interrupted lists everything again; what the list lacks went away meanwhile. What a list names is
//! news at its end: the store holds the states from before until then, and whoever is woken reads there. Pure: events
//! go in, news comes out.

use crate::controller::{Gone, Object};
use crate::objects::{Entry, EntryRef};
use kube::runtime::reflector::ObjectRef;
use kube::runtime::watcher::Event;
use kube::{Resource, ResourceExt};
use std::collections::{HashMap, HashSet};

/// What the loop has to do about an event.
pub(crate) enum News<K: Object> {
    /// It changed in a way that matters.
    Wake(EntryRef<K>),
    /// It is gone.
    Gone(EntryRef<K>, Gone),
    /// It cannot be decoded, for this reason.
    Undecodable(Entry<K>, String),
}

/// What of an object decides whether it is woken.
struct State {
    uid: Option<String>,
    generation: Option<i64>,
    requested: Option<String>,
    deleting: bool,
    /// Objects that cannot be decoded are told about again when they change.
    undecodable: Option<String>,
}

impl State {
    /// Whether the step to another state is no news. An annotation that is taken away asks for nothing.
    fn leads_quietly_to(&self, now: &State) -> bool {
        let is_asked = now.requested.is_some() && now.requested != self.requested;
        !is_asked
            && self.uid == now.uid
            && self.generation == now.generation
            && self.deleting == now.deleting
            && self.undecodable == now.undecodable
    }
}

/// Every object that is there, as far as the watch knows.
pub(crate) struct Seen<K: Object> {
    states: HashMap<EntryRef<K>, State>,
    /// What the list that is under way has named so far. One that breaks off leaves nothing.
    listed: Vec<Entry<K>>,
}

impl<K: Object> Default for Seen<K> {
    fn default() -> Self {
        Seen {
            states: HashMap::new(),
            listed: Vec::new(),
        }
    }
}

impl<K: Object> Seen<K> {
    /// What an event means, in order.
    pub(crate) fn take(&mut self, event: Event<Entry<K>>) -> Vec<News<K>> {
        match event {
            Event::Init => {
                self.listed.clear();
                Vec::new()
            }
            Event::InitApply(object) => {
                self.listed.push(object);
                Vec::new()
            }
            Event::InitDone => {
                let listed = std::mem::take(&mut self.listed);
                let names: HashSet<_> = listed.iter().map(ObjectRef::from).collect();
                let mut news: Vec<_> = listed.into_iter().flat_map(|object| self.present(object)).collect();
                let gone = self.states.extract_if(|reference, _| !names.contains(reference));
                news.extend(gone.map(|(reference, state)| gone_news(reference, state)));
                news
            }
            Event::Apply(object) => self.present(object),
            Event::Delete(object) => {
                let known = self.states.remove_entry(&ObjectRef::from(&object));
                let (reference, state) = known.unwrap_or_else(|| (ObjectRef::from(&object), state(&object)));
                vec![gone_news(reference, state)]
            }
        }
    }

    fn present(&mut self, object: Entry<K>) -> Vec<News<K>> {
        let (reference, now) = (ObjectRef::from(&object), state(&object));
        let before = self.states.get(&reference);
        let is_quiet = before.is_some_and(|before| before.leads_quietly_to(&now));
        let before = self.states.insert(reference.clone(), now);
        let mut news = Vec::new();
        if is_quiet {
            return news;
        }
        if let Some(before) = before.filter(|before| before.uid != object.uid()) {
            news.push(gone_news(reference.clone(), before));
        }
        news.push(match &object {
            Entry::Decoded(_) => News::Wake(reference),
            Entry::Invalid(invalid) => {
                let error = invalid.error.clone();
                News::Undecodable(object, error)
            }
        });
        news
    }
}

fn state<K: Object>(object: &Entry<K>) -> State {
    State {
        uid: object.uid(),
        generation: object.meta().generation,
        requested: object.annotations().get(api::meta::key::REQUESTED_AT).cloned(),
        deleting: object.meta().deletion_timestamp.is_some(),
        undecodable: match object {
            Entry::Decoded(_) => None,
            Entry::Invalid(_) => Some(object.resource_version().unwrap_or_default()),
        },
    }
}

fn gone_news<K: Object>(reference: EntryRef<K>, state: State) -> News<K> {
    let gone = Gone {
        namespace: reference.namespace.clone().unwrap_or_default(),
        name: reference.name.clone(),
        uid: state.uid.unwrap_or_default(),
    };
    News::Gone(reference, gone)
}

#[cfg(test)]
mod tests {
    use super::*;
    use api::source::GitRepository;
    use kube::core::error_boundary::InvalidObject;
    use std::sync::Arc;

    fn object(name: &str, uid: &str, generation: i64) -> Entry<GitRepository> {
        let mut object = GitRepository::new(name, Default::default());
        object.metadata.namespace = Some("apps".into());
        object.metadata.uid = Some(uid.into());
        object.metadata.generation = Some(generation);
        Entry::Decoded(Arc::new(object))
    }

    fn invalid(name: &str, uid: &str, version: &str) -> Entry<GitRepository> {
        let mut metadata = object(name, uid, 1).meta().clone();
        metadata.resource_version = Some(version.into());
        Entry::Invalid(Arc::new(InvalidObject {
            error: "bad".into(),
            metadata,
        }))
    }

    #[track_caller]
    fn check(events: Vec<Event<Entry<GitRepository>>>, expected: &[&str]) {
        let mut seen = Seen::default();
        let told = events.into_iter().flat_map(|event| seen.take(event));
        let told: Vec<_> = told
            .map(|news| match news {
                News::Wake(reference) => format!("wake {}", reference.name),
                News::Gone(_, gone) => format!("gone {}/{} {}", gone.namespace, gone.name, gone.uid),
                News::Undecodable(object, error) => format!("undecodable {} {error}", object.name_any()),
            })
            .collect();
        assert_eq!(told, expected);
    }

    #[test]
    fn what_vanished_during_a_gap_is_gone_and_the_rest_rests() {
        check(
            vec![
                Event::Init,
                Event::InitApply(object("a", "1", 1)),
                Event::InitApply(object("b", "2", 1)),
                Event::InitApply(invalid("c", "3", "7")),
                Event::InitDone,
                Event::Init,
                Event::InitApply(object("b", "2", 1)),
                Event::InitApply(invalid("c", "3", "7")),
                Event::InitDone,
                Event::Init,
                Event::InitApply(object("b", "2", 2)),
                Event::InitDone,
            ],
            &[
                "wake a",
                "wake b",
                "undecodable c bad",
                "gone apps/a 1",
                "wake b",
                "gone apps/c 3",
            ],
        );
    }

    #[test]
    fn what_a_list_names_is_news_at_its_end_also_if_it_breaks_off_and_starts_again() {
        let begun = vec![
            Event::Apply(object("a", "1", 1)),
            Event::Init,
            Event::InitApply(object("a", "1", 2)),
            Event::InitApply(object("b", "2", 1)),
        ];
        check(begun.clone(), &["wake a"]);
        let again = [
            Event::Init,
            Event::InitApply(object("a", "1", 2)),
            Event::InitDone,
            Event::Init,
            Event::InitDone,
        ];
        check(
            begun.into_iter().chain(again).collect(),
            // Nobody but the list that broke off has ever known of b.
            &["wake a", "wake a", "gone apps/a 1"],
        );
    }

    #[test]
    fn another_object_of_the_same_name_is_news_after_the_end_of_the_first() {
        check(
            vec![
                Event::Apply(object("a", "1", 1)),
                Event::Apply(object("a", "2", 1)),
                Event::Delete(object("a", "2", 1)),
            ],
            &["wake a", "gone apps/a 1", "wake a", "gone apps/a 2"],
        );
    }

    #[test]
    fn a_request_wakes_when_it_is_made_and_not_when_it_is_taken_away() {
        let asked = |value: Option<&str>| {
            let mut object = GitRepository::new("a", Default::default());
            object.metadata.uid = Some("1".into());
            let pair = |value: &str| (api::meta::key::REQUESTED_AT.to_owned(), value.to_owned());
            object.metadata.annotations = value.map(|value| [pair(value)].into());
            Event::Apply(Entry::Decoded(Arc::new(object)))
        };
        let wakes = |values: &[Option<&str>], expected: usize| {
            check(
                values.iter().map(|value| asked(*value)).collect(),
                &vec!["wake a"; expected],
            );
        };
        wakes(&[Some("1"), Some("1")], 1);
        wakes(&[None, Some("1"), Some("2")], 3);
        wakes(&[Some("1"), None], 1);
        wakes(&[Some("1"), None, Some("1")], 2);
        wakes(&[None, Some("")], 2);
    }

    #[test]
    fn only_the_generation_wakes_and_an_object_that_cannot_be_decoded_goes_like_any_other() {
        check(
            vec![
                Event::Apply(object("a", "1", 1)),
                Event::Apply(object("a", "1", 1)),
                Event::Apply(object("a", "1", 2)),
                Event::Apply(invalid("a", "1", "5")),
                Event::Apply(invalid("a", "1", "5")),
                Event::Delete(invalid("a", "1", "6")),
            ],
            &["wake a", "wake a", "undecodable a bad", "gone apps/a 1"],
        );
    }
}
