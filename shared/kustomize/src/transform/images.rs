//! `images`: new names, tags and digests for container images.

use regex::Regex;

use super::Transformer;
use crate::Error;
use crate::fields::{FieldSpec, Target, apply_all, field_spec};
use crate::kustomization::{Fields, Image};
use crate::node::{Node, wrong_kind};
use crate::resource::Resources;
use crate::schema::Schema;

/// Changes one image wherever it is used: in `containers` and `initContainers` at any depth, and in the fields.
pub(crate) struct Images {
    image: Image,
    pattern: Regex,
    fields: Vec<FieldSpec>,
}

impl Images {
    /// A change of one image.
    ///
    /// # Errors
    /// When the image's name is no regular expression.
    pub fn new(image: Image, fields: Vec<FieldSpec>) -> Result<Self, Error> {
        let pattern = format!("^{}(:[a-zA-Z0-9_.{{}}-]*)?(@sha256:[a-zA-Z0-9_.{{}}-]*)?$", image.name);
        let pattern = Regex::new(&pattern).map_err(|error| {
            Error::new(format!(
                "images: name '{}' is no regular expression: {error}",
                image.name
            ))
        })?;
        Ok(Self { image, pattern, fields })
    }

    /// From a plugin configuration.
    pub fn decode(fields: &mut Fields<'_>) -> Result<Self, Error> {
        let image = fields.object("imageTag", Image::decode)?.unwrap_or_default();
        Self::new(image, fields.list("fieldSpecs", field_spec)?)
    }

    fn update(&self, node: &mut Node) -> Result<(), Error> {
        if node.is_null() {
            return Ok(());
        }
        if !node.is_scalar() {
            return Err(wrong_kind("ScalarNode", node));
        }
        let old = node.text().into_owned();
        if self.pattern.is_match(&old) {
            node.assign_untyped(&renamed(&old, &self.image));
        }
        Ok(())
    }

    /// Containers at any depth.
    fn walk(&self, node: &mut Node) -> Result<(), Error> {
        match node {
            Node::Map(map) => {
                for (key, value) in map {
                    self.walk(value)?;
                    if let ("containers" | "initContainers", Node::List(containers)) = (key.as_str(), value) {
                        for container in containers {
                            match container {
                                Node::Map(container) => {
                                    container.get_mut("image").map_or(Ok(()), |image| self.update(image))?
                                }
                                Node::Null { .. } => {}
                                other => return Err(wrong_kind("MappingNode", other)),
                            }
                        }
                    }
                }
                Ok(())
            }
            Node::List(items) => items.iter_mut().try_for_each(|item| self.walk(item)),
            Node::Null { .. } | Node::Bool(_) | Node::Number(_) | Node::Text(_) => Ok(()),
        }
    }
}

impl Transformer for Images {
    fn transform(&self, resources: &mut Resources, _: &Schema) -> Result<(), Error> {
        // All containers first, then all fields: a new name must not match twice in between.
        for resource in resources
            .iter_mut()
            .filter(|resource| resource.kind() != "CustomResourceDefinition")
        {
            self.walk(&mut resource.node)?;
        }
        for resource in resources
            .iter_mut()
            .filter(|resource| resource.kind() != "CustomResourceDefinition")
        {
            apply_all(&mut resource.node, &self.fields, Target::Existing, &mut |node| {
                self.update(node)
            })?;
        }
        Ok(())
    }
}

fn renamed(old: &str, image: &Image) -> String {
    let (name, mut tag, mut digest) = split(old);
    let mut result = if image.new_name.is_empty() {
        name.to_owned()
    } else {
        image.new_name.clone()
    };
    let suffixed;
    if !image.new_tag.is_empty() {
        (tag, digest) = (&image.new_tag, &image.digest);
    } else if !image.digest.is_empty() {
        (tag, digest) = ("", &image.digest);
    } else if !image.tag_suffix.is_empty() {
        suffixed = format!("{tag}{}", image.tag_suffix);
        (tag, digest) = (&suffixed, "");
    }
    for (mark, part) in [(':', tag), ('@', digest)] {
        if !part.is_empty() {
            result.push(mark);
            result.push_str(part);
        }
    }
    result
}

/// Name, tag and digest of an image reference.
fn split(image: &str) -> (&str, &str, &str) {
    let start = image.find('/').filter(|at| *at > 0).unwrap_or(0);
    let find = |c| image[start..].find(c).map(|at| at + start);
    match (find('@'), find(':')) {
        (None, None) => (image, "", ""),
        (Some(at), colon) if colon.is_none_or(|colon| at < colon) => {
            (&image[..at], "", image[at..].trim_start_matches('@'))
        }
        (Some(at), Some(colon)) => (&image[..colon], &image[colon + 1..at], &image[at + 1..]),
        (_, Some(colon)) => (&image[..colon], &image[colon + 1..], ""),
        (Some(at), None) => (&image[..at], "", &image[at + 1..]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(image: &Image, old: &str, expected: &str) {
        let images = Images::new(image.clone(), Vec::new()).unwrap();
        let mut node = Node::string(old);
        images.update(&mut node).unwrap();
        assert_eq!(node.text(), expected, "{old}");
    }

    #[test]
    fn tags_and_digests_are_replaced_where_the_name_matches() {
        let tag = Image {
            name: "nginx".into(),
            new_tag: "2".into(),
            ..Image::default()
        };
        check(&tag, "nginx", "nginx:2");
        check(&tag, "nginx:1@sha256:abc", "nginx:2");
        check(&tag, "nginxx:1", "nginxx:1");
        check(&tag, "a/nginx:1", "a/nginx:1");
        let name = Image {
            name: "host:5/a".into(),
            new_name: "b".into(),
            digest: "sha256:1".into(),
            ..Image::default()
        };
        check(&name, "host:5/a:1", "b@sha256:1");
        let suffix = Image {
            name: "a".into(),
            tag_suffix: "-x".into(),
            ..Image::default()
        };
        check(&suffix, "a:1", "a:1-x");
    }
}
