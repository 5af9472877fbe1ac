//! Kinds that end in `List` stand for their items.

use crate::Error;
use crate::error::Problems;
use crate::node::Node;

/// What a document must have: a kind, and a name unless it is a list.
///
/// # Errors
/// Names what is missing.
pub(super) fn validate(node: &Node) -> Result<(), Error> {
    let text = |node: Option<&Node>, field: &str| {
        let value = node.and_then(|node| node.get(field)).filter(|value| !value.is_empty());
        value.map(|value| value.text().into_owned())
    };
    let meta = node.get("metadata");
    let (kind, version, name) = (
        text(Some(node), "kind"),
        text(Some(node), "apiVersion"),
        text(meta, "name"),
    );
    let others = ["namespace", "labels", "annotations"];
    if kind.is_none() && version.is_none() && name.is_none() && others.iter().all(|field| text(meta, field).is_none()) {
        return Err(Error::new(
            "missing Resource metadata: expected an object with apiVersion, kind and metadata.name",
        ));
    }
    let (kind, version, name) = (
        kind.unwrap_or_default(),
        version.unwrap_or_default(),
        name.unwrap_or_default(),
    );
    if kind.is_empty() {
        return Err(Error::new(format!(
            "missing kind in object with apiVersion '{version}' and name '{name}'"
        )));
    }
    if !kind.ends_with("List") && name.is_empty() {
        return Err(Error::new(format!("missing metadata.name in object {version}/{kind}")));
    }
    Ok(())
}

/// Replaces every list kind among the documents by its items, which come after all other documents. Upstream writes them as JSON
/// and reads that.
///
/// # Errors
/// When `items` is no list, or an item lacks kind or name.
pub(super) fn expand(documents: Vec<(usize, Node)>) -> Result<Vec<(usize, Node)>, Error> {
    let mut problems = Problems::default();
    let mut result = Vec::with_capacity(documents.len());
    let mut queue = std::collections::VecDeque::from(documents);
    while let Some((line, mut node)) = queue.pop_front() {
        let kind = node.get("kind").map_or(String::new(), |kind| kind.text().into_owned());
        let items = if kind.ends_with("List") {
            node.as_map_mut().and_then(|map| map.remove("items"))
        } else {
            None
        };
        match items {
            None => result.push((line, node)),
            Some(Node::Null(_)) => {}
            Some(Node::List(items)) => {
                for item in items {
                    if !item.is_empty() {
                        problems.note(validate(&item).map_err(|error| error.at_line(line)))?;
                        queue.push_back((line, item.rewritten_as_json()));
                    }
                }
            }
            Some(other) => {
                let message = format!("expected array in {kind}/items, but found {}", other.kind());
                problems.note::<()>(Err(Error::new(message).at_line(line)))?;
            }
        }
    }
    problems.finish()?;
    Ok(result)
}
