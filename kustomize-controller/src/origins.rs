//! Where objects were written and what changed them, for the texts about what happens to them: fields of kustomizations,
//! and of the spec.

use crate::generate::Root;
use crate::inventory::ObjectId;
use kustomize::BuiltObject;
use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

/// So many fields are named, those that changed the object last.
const MOST: usize = 4;
/// So many objects are named at the end of a text.
const MOST_LINES: usize = 20;

/// Where one object comes from. Displayed, it is a clause: `from base/app.yaml:1, changed by spec.namePrefix`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Origin {
    from: Option<Arc<str>>,
    /// The fields that changed it last, oldest first.
    changed_by: Vec<Arc<str>>,
    /// How many had changed it before these.
    before: usize,
}

impl Origin {
    /// The origin of an object that was built with this root.
    pub fn of(built: &BuiltObject, root: &Root) -> Self {
        let from = built.origin.clone().and_then(|origin| root.origin(origin));
        let mut origin = Origin {
            from: from.map(|from| from.to_string().into()),
            ..Origin::default()
        };
        let touches = built.touched_by.iter().filter_map(|touch| root.touch(touch));
        touches.for_each(|field| origin.changed_by(field));
        origin
    }

    /// Notes a field that changed the object after all others.
    pub fn changed_by(&mut self, field: Arc<str>) {
        self.changed_by.push(field);
        if self.changed_by.len() > MOST {
            self.changed_by.remove(0);
            self.before += 1;
        }
    }

    fn is_unknown(&self) -> bool {
        self.from.is_none() && self.changed_by.is_empty()
    }

    /// The clause in brackets, to put behind a text; empty where nothing is known.
    pub fn suffix(&self) -> String {
        match self.is_unknown() {
            true => String::new(),
            false => format!(" ({self})"),
        }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(from) = &self.from {
            write!(formatter, "from {from}")?;
        }
        for (at, field) in self.changed_by.iter().enumerate() {
            match (at, &self.from) {
                (0, None) => formatter.write_str("changed by ")?,
                (0, Some(_)) => formatter.write_str(", changed by ")?,
                _ => formatter.write_str(", ")?,
            }
            if at == 0 && self.before > 0 {
                write!(formatter, "{} more and ", self.before)?;
            }
            formatter.write_str(field)?;
        }
        Ok(())
    }
}

/// The origins of the objects of a build, as far as they are known.
#[derive(Clone, Debug, Default)]
pub struct Origins(HashMap<ObjectId, Origin>);

impl FromIterator<(ObjectId, Origin)> for Origins {
    fn from_iter<I: IntoIterator<Item = (ObjectId, Origin)>>(origins: I) -> Self {
        let known = origins.into_iter().filter(|(_, origin)| !origin.is_unknown());
        Origins(known.collect())
    }
}

impl Origins {
    /// The origin of an object, to be put somewhere of its own.
    pub fn text(&self, id: &ObjectId) -> Option<String> {
        self.0.get(id).map(Origin::to_string)
    }

    /// The origin of an object, to be put behind a text about it.
    pub fn suffix(&self, id: &ObjectId) -> String {
        self.0.get(id).map(Origin::suffix).unwrap_or_default()
    }

    /// A line for each of some objects, to be put behind a text about all of them; it begins with a line break.
    pub fn lines<'a>(&self, ids: impl IntoIterator<Item = &'a ObjectId>) -> String {
        let lines = ids.into_iter().filter_map(|id| Some((id, self.0.get(id)?)));
        let (mut text, mut count) = (String::new(), 0_usize);
        for (id, origin) in lines {
            count += 1;
            if count <= MOST_LINES {
                text.push_str(&format!("\n{id} is {origin}"));
            }
        }
        match count.checked_sub(MOST_LINES) {
            None | Some(0) => text,
            Some(more) => format!("{text}\nand {more} more"),
        }
    }

    /// Those of some objects only.
    #[must_use]
    pub fn only<'a>(&self, ids: impl IntoIterator<Item = &'a ObjectId>) -> Self {
        let of = |id: &ObjectId| Some((id.clone(), self.0.get(id)?.clone()));
        Origins(ids.into_iter().filter_map(of).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::generate;
    use api::kustomize::KustomizationSpec;
    use kustomize::{Builder, MemoryFiles, Options};

    /// What is said of the one object of a build.
    #[track_caller]
    fn check(files: &[(&str, &str)], expected: &str) {
        let mut tree = MemoryFiles::default();
        for (path, content) in files {
            tree.insert(path, *content).unwrap();
        }
        let spec = KustomizationSpec {
            target_namespace: Some("apps".to_owned()),
            ..KustomizationSpec::default()
        };
        let root = generate::kustomization(&tree, "over", &spec).unwrap();
        let options = Options::default();
        let built = Builder::new(&root.over(&tree).unwrap(), &options)
            .build("over")
            .unwrap();
        assert_eq!(Origin::of(&built.objects[0], &root).suffix(), expected);
    }

    const BASE: [(&str, &str); 2] = [
        ("base/kustomization.yaml", "resources: [a.yaml]\n"),
        (
            "base/a.yaml",
            "# a comment\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\n",
        ),
    ];

    #[test]
    fn the_file_the_line_and_the_fields_are_said() {
        let over = ("over/kustomization.yaml", "resources: [../base]\nnamePrefix: x-\n");
        check(
            &[BASE[0], BASE[1], over],
            " (from base/a.yaml:2, changed by spec.targetNamespace, over/kustomization.yaml namePrefix)",
        );
    }

    fn changed(times: usize) -> Origin {
        let mut origin = Origin {
            from: Some("a.yaml:1".into()),
            ..Origin::default()
        };
        (0..times).for_each(|time| origin.changed_by(time.to_string().into()));
        origin
    }

    #[test]
    fn the_last_fields_are_named_and_the_others_counted() {
        assert_eq!(changed(0).to_string(), "from a.yaml:1");
        assert_eq!(changed(4).to_string(), "from a.yaml:1, changed by 0, 1, 2, 3");
        assert_eq!(
            changed(6).to_string(),
            "from a.yaml:1, changed by 2 more and 2, 3, 4, 5"
        );
        let made = Origin {
            from: None,
            ..changed(1)
        };
        assert_eq!(made.suffix(), " (changed by 0)");
    }

    #[test]
    fn of_nothing_known_nothing_is_said() {
        assert_eq!(Origin::default().suffix(), "");
        let id = id(0);
        let origins: Origins = [(id.clone(), Origin::default())].into_iter().collect();
        assert_eq!((origins.text(&id), origins.lines([&id])), (None, String::new()));
    }

    fn id(number: usize) -> ObjectId {
        ObjectId {
            group: String::new(),
            kind: "ConfigMap".into(),
            namespace: "n".into(),
            name: number.to_string(),
        }
    }

    #[test]
    fn some_objects_are_named_and_the_others_counted() {
        let ids: Vec<_> = (0..MOST_LINES + 5).map(id).collect();
        let origins: Origins = ids.iter().skip(1).map(|id| (id.clone(), changed(0))).collect();
        assert_eq!(
            origins.lines(&ids[..3]),
            "\nConfigMap/n/1 is from a.yaml:1\nConfigMap/n/2 is from a.yaml:1"
        );
        let all = origins.lines(&ids);
        assert_eq!(all.lines().count(), 1 + MOST_LINES + 1);
        assert!(all.ends_with("\nand 4 more"), "{all}");
        assert_eq!(origins.only(&ids[..2]).lines(&ids), "\nConfigMap/n/1 is from a.yaml:1");
    }
}
