//! Where objects and transformers come from, as `buildMetadata` writes it into annotations.

use crate::Error;
use crate::files::clean;
use crate::remote::{RepoSpec, without_password};
use crate::resource::{ORIGIN, Resource, Resources, TRANSFORMATIONS};

/// The origin of an object, or of the generator or transformer that made or changed it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct OriginNote {
    /// The file, from the root kustomization's directory.
    pub path: String,
    /// The URL of the repository the file is of, when it is of a fetched one.
    pub repository: String,
    /// The reference of the repository, when one was named.
    pub reference: String,
    /// The file that configures the generator or transformer.
    pub configured_in: String,
    /// `apiVersion`, `kind`, `name` and `namespace` of the generator or transformer.
    pub configured_by: [String; 4],
}

impl OriginNote {
    /// Something at a path seen from here. A URL starts anew, one of a file too: what it has of a repository and a directory
    /// is taken for that, as upstream does.
    pub fn append(&self, path: &str) -> Self {
        if let Some(spec) = RepoSpec::parse(path) {
            return Self {
                path: spec.origin_path(),
                repository: without_password(&spec.repository.url).into_owned(),
                reference: spec.repository.reference.unwrap_or_default(),
                ..self.clone()
            };
        }
        let joined = if self.path.is_empty() {
            path.to_owned()
        } else {
            format!("{}/{path}", self.path)
        };
        Self {
            path: clean(&joined),
            ..self.clone()
        }
    }

    /// A plugin built in and configured by a kustomization file.
    pub fn builtin(directory: &OriginNote, file: &str, kind: &str) -> Self {
        let configured_in = directory.append(file).path;
        Self {
            path: String::new(),
            configured_in,
            configured_by: ["builtin".into(), kind.into(), String::new(), String::new()],
            ..directory.clone()
        }
    }

    /// A plugin configured by an object that came from a file.
    pub fn plugin(config: &Resource) -> Option<Self> {
        let origin = yaml::parse(&config.annotation(ORIGIN)?, yaml::Dialect::V3).ok()?;
        let text = |name: &str| {
            let value = origin.first().and_then(|origin| origin.get(name)?.as_str());
            value.unwrap_or_default().to_owned()
        };
        Some(Self {
            path: String::new(),
            repository: text("repo"),
            reference: text("ref"),
            configured_in: text("path"),
            configured_by: [config.api_version(), config.kind(), config.name(), config.namespace()],
        })
    }

    /// The lines of the annotation.
    fn lines(&self) -> Vec<String> {
        let scalar = |text: &str| yaml::to_string(&text.into()).trim_end().to_owned();
        let mut lines = Vec::new();
        for (name, value) in [
            ("path", &self.path),
            ("repo", &self.repository),
            ("ref", &self.reference),
            ("configuredIn", &self.configured_in),
        ] {
            if !value.is_empty() {
                lines.push(format!("{name}: {}", scalar(value)));
            }
        }
        if self.configured_by.iter().any(|part| !part.is_empty()) {
            lines.push("configuredBy:".to_owned());
            for (name, value) in ["apiVersion", "kind", "name", "namespace"]
                .iter()
                .zip(&self.configured_by)
            {
                if !value.is_empty() {
                    lines.push(format!("  {name}: {}", scalar(value)));
                }
            }
        }
        lines
    }

    fn text(&self) -> String {
        self.lines().iter().map(|line| format!("{line}\n")).collect()
    }

    /// Notes this as the origin of an object.
    pub fn write_to(&self, resource: &mut Resource) -> Result<(), Error> {
        resource.set_annotation(ORIGIN, &self.text())
    }

    /// Notes this as a transformer of all objects, or as the origin of those that have none.
    pub fn transformed(&self, resources: &mut Resources) -> Result<(), Error> {
        for resource in resources.iter_mut().filter(|resource| !resource.node.is_empty()) {
            if resource.annotation(ORIGIN).is_none() {
                self.write_to(resource)?;
                continue;
            }
            let mut text = resource.annotation(TRANSFORMATIONS).unwrap_or_default();
            for (at, line) in self.lines().iter().enumerate() {
                text.push_str(if at == 0 { "- " } else { "  " });
                text.push_str(line);
                text.push('\n');
            }
            resource.set_annotation(TRANSFORMATIONS, &text)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_repository_is_noted_without_the_password() {
        let below = OriginNote::default().append("below");
        let base = below.append("https://me:secret@git.test/org/repo//base?ref=1.0");
        assert_eq!(
            base.append("a.yaml").text(),
            "path: base/a.yaml\nrepo: https://***@git.test/org/repo\nref: \"1.0\"\n"
        );
        let note = OriginNote::builtin(&below.append("git@git.test:org/repo"), "Kustomization", "X");
        assert_eq!(
            note.text(),
            "repo: git@git.test:org/repo\nconfiguredIn: notCloned/Kustomization\nconfiguredBy:\n  apiVersion: builtin\n  \
             kind: X\n"
        );
    }

    #[test]
    fn a_note_has_a_line_per_fact() {
        let base = OriginNote::default().append("../base");
        assert_eq!(base.append("./a.yaml").text(), "path: ../base/a.yaml\n");
        let note = OriginNote::builtin(&base, "kustomization.yaml", "PrefixTransformer");
        assert_eq!(
            note.text(),
            "configuredIn: ../base/kustomization.yaml\nconfiguredBy:\n  apiVersion: builtin\n  kind: PrefixTransformer\n"
        );
    }
}
