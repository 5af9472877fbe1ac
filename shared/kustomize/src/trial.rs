//! Builds of a few lines, for the tests of single fields.

use serde_json::Value;

use crate::{MemoryFiles, Options, build};

/// The objects of a kustomization with these fields over these resources, or the error.
pub(crate) fn built(fields: &str, resources: &str) -> Result<Vec<Value>, String> {
    let mut files = MemoryFiles::default();
    let text = format!("resources: [all.yaml]\n{fields}");
    for (path, content) in [("kustomization.yaml", text.as_str()), ("all.yaml", resources)] {
        files.insert(path, content).map_err(|error| error.to_string())?;
    }
    let objects = build(&files, "", &Options::default()).map_err(|error| error.to_string())?;
    Ok(objects.into_iter().map(|built| built.object).collect())
}

/// What is at a place of the first object then; null where it cannot be built.
pub(crate) fn first(fields: &str, resources: &str, pointer: &str) -> Value {
    let objects = built(fields, resources).unwrap_or_default();
    let found = objects.first().and_then(|object| object.pointer(pointer));
    found.cloned().unwrap_or_default()
}
