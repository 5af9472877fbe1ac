//! Selecting objects by name, type, labels and annotations.

mod labels;

use regex::Regex;

use crate::Error;
use crate::kustomization::Fields;
use crate::resource::{Gvk, Id, Resource, Resources};

pub(crate) use labels::LabelSelector;

/// What `target`, `select`, `reject` and `selector` say: regular expressions for the parts of the identity, and selectors.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Selector {
    /// Regular expressions for type, name and namespace; empty parts match all.
    pub id: Id,
    /// A label selector on the annotations.
    pub annotations: String,
    /// A label selector on the labels.
    pub labels: String,
}

impl Selector {
    /// Reads a selector.
    ///
    /// # Errors
    /// When a part has the wrong type.
    pub fn decode(fields: &mut Fields<'_>) -> Result<Self, Error> {
        let gvk = Gvk {
            group: fields.text("group")?,
            version: fields.text("version")?,
            kind: fields.text("kind")?,
        };
        Ok(Self {
            id: Id {
                gvk,
                name: fields.text("name")?,
                namespace: fields.text("namespace")?,
            },
            annotations: fields.text("annotationSelector")?,
            labels: fields.text("labelSelector")?,
        })
    }

    /// Compiles the expressions.
    ///
    /// # Errors
    /// Names the expression that is malformed.
    pub fn compile(&self) -> Result<Matcher, Error> {
        Ok(Matcher {
            group: anchored(&self.id.gvk.group)?,
            version: anchored(&self.id.gvk.version)?,
            kind: anchored(&self.id.gvk.kind)?,
            name: anchored(&self.id.name)?,
            namespace: anchored(&self.id.namespace)?,
            labels: LabelSelector::parse(&self.labels)?,
            annotations: LabelSelector::parse(&self.annotations)?,
        })
    }
}

fn anchored(pattern: &str) -> Result<Option<Regex>, Error> {
    if pattern.is_empty() {
        return Ok(None);
    }
    Regex::new(&format!("^(?:{pattern})$"))
        .map(Some)
        .map_err(|error| Error::new(format!("error parsing regexp '{pattern}': {error}")))
}

/// A compiled selector.
pub(crate) struct Matcher {
    group: Option<Regex>,
    version: Option<Regex>,
    kind: Option<Regex>,
    name: Option<Regex>,
    namespace: Option<Regex>,
    labels: LabelSelector,
    annotations: LabelSelector,
}

fn fits(pattern: Option<&Regex>, text: &str) -> bool {
    pattern.is_none_or(|pattern| pattern.is_match(text))
}

impl Matcher {
    fn fits_gvk(&self, gvk: &Gvk) -> bool {
        fits(self.group.as_ref(), &gvk.group)
            && fits(self.version.as_ref(), &gvk.version)
            && fits(self.kind.as_ref(), &gvk.kind)
    }

    /// Whether an identity matches, its namespace as written.
    pub fn fits_id(&self, id: &Id) -> bool {
        self.fits_gvk(&id.gvk) && fits(self.name.as_ref(), &id.name) && fits(self.namespace.as_ref(), &id.namespace)
    }

    /// Whether the object's labels and annotations match.
    pub fn fits_meta(&self, resource: &Resource) -> bool {
        (self.labels.is_empty() || self.labels.matches(&resource.meta_strings("labels")))
            && (self.annotations.is_empty() || self.annotations.matches(&resource.meta_strings("annotations")))
    }

    /// Whether an object matches by its first or present name and namespace, its present type, labels and annotations.
    pub fn fits(&self, resource: &Resource) -> bool {
        let (now, first) = (resource.id(), resource.original_id());
        (fits(self.namespace.as_ref(), first.effective_namespace())
            || fits(self.namespace.as_ref(), now.effective_namespace()))
            && (fits(self.name.as_ref(), &first.name) || fits(self.name.as_ref(), &now.name))
            && self.fits_gvk(&now.gvk)
            && self.fits_meta(resource)
    }
}

impl Resources {
    /// Positions of the objects a selector matches.
    ///
    /// # Errors
    /// When the selector is malformed.
    pub fn select(&self, selector: &Selector) -> Result<Vec<usize>, Error> {
        let matcher = selector.compile()?;
        Ok(self
            .iter()
            .enumerate()
            .filter(|(_, resource)| matcher.fits(resource))
            .map(|(at, _)| at)
            .collect())
    }
}
