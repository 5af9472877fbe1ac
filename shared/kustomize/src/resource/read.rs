//! From a manifest file to objects.

use super::{Resource, list};
use crate::Error;
use crate::error::{Problems, Within};
use crate::node::{Documents, Node, documents, wrong_kind};

/// The objects of a manifest file, lists expanded, each with the line it starts at.
///
/// # Errors
/// Malformed YAML; every document without kind or name. With the line in the file.
pub(crate) fn read(content: &[u8]) -> Result<Vec<(usize, Resource)>, Error> {
    let Documents { mut nodes, is_cut } = documents(content)?;
    if let [(line, only)] = nodes.as_slice()
        && matches!(
            only.get("kind").map(Node::text).as_deref(),
            Some("List" | "ResourceList")
        )
        && !is_cut
        && let Some(items) = only.get("items").or_else(|| only.get("functionConfig"))
    {
        // A file that is one list is taken for its items before anything is checked.
        let items = match only.get("items") {
            Some(Node::Map(map)) if !map.is_empty() => {
                let error = wrong_kind("SequenceNode", items).at_line(*line);
                return Err(error).within(|| "items of the list");
            }
            Some(_) => items.as_list().unwrap_or_default(),
            None => &[],
        };
        nodes = items.iter().map(|item| (*line, item.clone())).collect();
    }
    let mut kept = Vec::with_capacity(nodes.len());
    let mut problems = Problems::default();
    for (line, node) in nodes {
        if !node.is_empty() {
            problems.note(list::validate(&node).map_err(|error| error.at_line(line)))?;
            kept.push((line, node));
        }
    }
    problems.finish()?;
    let recalled = list::expand(kept)?.into_iter().map(|(line, node)| {
        let mut resource = Resource::new(node);
        resource.recall().map_err(|error| error.at_line(line))?;
        Ok((line, resource))
    });
    recalled.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: Result<&[&str], &str>) {
        let found =
            read(text.as_bytes()).map(|objects| objects.iter().map(|(_, object)| object.name()).collect::<Vec<_>>());
        match expected {
            Ok(names) => assert_eq!(found.unwrap(), names, "{text}"),
            Err(part) => assert!(found.unwrap_err().to_string().contains(part), "{text}"),
        }
    }

    #[test]
    fn lists_are_expanded_behind_the_other_documents() {
        let item = |name: &str| format!("{{kind: A, metadata: {{name: {name}}}}}");
        check(
            &format!("kind: AList\nitems: [{}, {}]\n---\n{}", item("x"), item("y"), item("z")),
            Ok(&["z", "x", "y"]),
        );
        check(&format!("kind: List\nitems: [{}]", item("x")), Ok(&["x"]));
        check("kind: AList\nitems:\n", Ok(&[]));
        check("kind: List\nitems: {}\n", Ok(&[]));
        check(
            "kind: List\nitems: {a: b}\n",
            Err("expected SequenceNode but got MappingNode"),
        );
    }

    #[test]
    fn documents_without_kind_or_name_are_refused() {
        check("kind: A\n", Err("missing metadata.name"));
        check("{apiVersion: v1, kind: null, metadata: {name: x}}", Err("missing kind"));
        check("metadata: {name: x}\n", Err("missing kind"));
        check("a: b\n", Err("missing Resource metadata"));
        check("[]\n---\n# nothing\n", Ok(&[]));
        check("- a\n", Err("missing Resource metadata"));
    }
}
