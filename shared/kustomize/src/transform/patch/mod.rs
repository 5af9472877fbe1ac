//! Changes written as pieces of objects or as operations, by the three fields that take them.

mod apply;
mod json6902;
mod json_patch;
mod patches;
mod strategic;

pub(crate) use json6902::Json6902Patch;
pub(crate) use patches::Patches;
pub(crate) use strategic::StrategicPatches;
