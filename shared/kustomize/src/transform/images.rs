//! `images`: new names, tags and digests for container images.
//!
//! ```
//! # use kustomize::{MemoryFiles, Options, build};
//! let mut files = MemoryFiles::default();
//! files.insert("kustomization.yaml", "images: [{name: nginx, newTag: '1.27'}]\nresources: [app.yaml]\n")?;
//! files.insert(
//!     "app.yaml",
//!     "{apiVersion: v1, kind: Pod, metadata: {name: app}, spec: {containers: [{name: a, image: nginx:1.25}]}}\n",
//! )?;
//! let objects = build(&files, "", &Options::default())?;
//! assert_eq!(objects[0].object["spec"]["containers"][0]["image"], "nginx:1.27");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

use regex::Regex;

use super::{Pass, Transformer};
use crate::Error;
use crate::fields::{FieldSpec, Target, apply_all, field_spec};
use crate::kustomization::{Fields, Image};
use crate::node::{Node, wrong_kind};
use crate::resource::{Resource, Resources};
use crate::select;

/// Changes one image wherever it is used: in `containers` and `initContainers` at any depth, and in the fields.
pub(crate) struct Images {
    image: Image,
    name: Name,
    fields: Vec<FieldSpec>,
}

impl Images {
    /// A change of one image.
    ///
    /// # Errors
    /// When the image's name is no regular expression.
    pub fn new(image: Image, fields: Vec<FieldSpec>) -> Result<Self, Error> {
        let name = Name::new(&image.name)?;
        Ok(Self { image, name, fields })
    }

    /// From a plugin configuration.
    pub fn decode(fields: &mut Fields<'_>) -> Result<Self, Error> {
        let image = fields.object("imageTag", Image::decode)?.unwrap_or_default();
        Self::new(image, fields.list("fieldSpecs", field_spec)?)
    }

    fn update(&self, node: &mut Node) -> Result<bool, Error> {
        if node.is_null() {
            return Ok(false);
        }
        if !node.is_scalar() {
            return Err(wrong_kind("ScalarNode", node));
        }
        let old = node.text().into_owned();
        if self.name.is_of(&old) {
            return Ok(node.assign_untyped(&renamed(&old, &self.image)));
        }
        Ok(false)
    }

    /// Containers at any depth.
    fn walk(&self, node: &mut Node) -> Result<bool, Error> {
        let mut changed = false;
        match node {
            Node::Map(map) => {
                for (key, value) in map.iter_mut() {
                    changed |= self.walk(value)?;
                    if let ("containers" | "initContainers", Node::List(containers)) = (&**key, value) {
                        for container in containers {
                            match container {
                                Node::Map(container) => {
                                    if let Some(image) = container.get_mut("image") {
                                        changed |= self.update(image)?;
                                    }
                                }
                                Node::Null(_) => {}
                                other => return Err(wrong_kind("MappingNode", other)),
                            }
                        }
                    }
                }
            }
            Node::List(items) => {
                for item in items {
                    changed |= self.walk(item)?;
                }
            }
            Node::Null(_) | Node::Bool(_) | Node::Number(_) | Node::Text(_) => {}
        }
        Ok(changed)
    }
}

impl Transformer for Images {
    fn transform(&self, resources: &mut Resources, pass: &Pass<'_>) -> Result<(), Error> {
        // All containers first, then all fields: a new name must not match twice in between.
        let has_images = |resource: &&mut Resource| resource.kind() != "CustomResourceDefinition";
        pass.each(resources.iter_mut().filter(has_images), |resource| {
            self.walk(&mut resource.node)
        })?;
        pass.each(resources.iter_mut().filter(has_images), |resource| {
            apply_all(&mut resource.node, &self.fields, Target::Existing, &mut |node| {
                self.update(node)
            })
        })
    }
}

/// The name of an image, which is a regular expression, though most are names and nothing else.
enum Name {
    Plain(String),
    Regex(Regex),
}

impl Name {
    fn new(name: &str) -> Result<Self, Error> {
        // A dot is any character; what else names are made of is itself.
        if name
            .bytes()
            .all(|c| c.is_ascii_alphanumeric() || matches!(c, b'.' | b'-' | b'_' | b'/' | b':' | b'@'))
        {
            return Ok(Name::Plain(name.to_owned()));
        }
        select::pattern(&format!(
            "^{name}(:[a-zA-Z0-9_.{{}}-]*)?(@sha256:[a-zA-Z0-9_.{{}}-]*)?$"
        ))
        .map(Name::Regex)
        .map_err(|error| Error::new(format!("images: name '{name}' is no regular expression: {error}")))
    }

    /// Whether it is the name of this image, whatever tag and digest follow it.
    fn is_of(&self, image: &str) -> bool {
        let name = match self {
            Name::Plain(name) => name,
            Name::Regex(regex) => return regex.is_match(image),
        };
        let mut rest = image.chars();
        let fits = |(wanted, found): (char, Option<char>)| {
            found.is_some_and(|found| wanted == found || (wanted == '.' && found != '\n'))
        };
        if !name.chars().all(|wanted| fits((wanted, rest.next()))) {
            return false;
        }
        let part = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '{' | '}' | '-');
        let rest = rest.as_str();
        let rest = rest.strip_prefix(':').map_or(rest, |tag| tag.trim_start_matches(part));
        let rest = rest
            .strip_prefix("@sha256:")
            .map_or(rest, |digest| digest.trim_start_matches(part));
        rest.is_empty()
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
        check(&tag, "nginx:1:2", "nginx:1:2");
        check(&tag, "nginx@sha512:1", "nginx@sha512:1");
        check(&tag, "ngin", "ngin");
        let name = Image {
            name: "host:5/a".into(),
            new_name: "b".into(),
            digest: "sha256:1".into(),
            ..Image::default()
        };
        check(&name, "host:5/a:1", "b@sha256:1");
        let expression = |name: &str| Image {
            name: name.into(),
            new_tag: "2".into(),
            ..Image::default()
        };
        check(&expression("a.b"), "axb:1", "axb:2");
        check(&expression("a.b"), "ab:1", "ab:1");
        check(&expression("a.*"), "a/b:1", "a/b:2");
        check(&expression("[ab]"), "b", "b:2");
        let suffix = Image {
            name: "a".into(),
            tag_suffix: "-x".into(),
            ..Image::default()
        };
        check(&suffix, "a:1", "a:1-x");
    }
}
