//! Selecting objects by name, type, labels and annotations.

mod labels;
mod pattern;
mod whole;

use crate::Error;
use crate::kustomization::Fields;
use crate::resource::{Gvk, Id, Resource, Resources, effective_namespace, group_version};

pub(crate) use labels::LabelSelector;
pub(crate) use pattern::pattern;
use whole::Pattern;

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

impl Id {
    /// Reads the parts of an identity, of which any may be missing.
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
            gvk,
            name: fields.text("name")?,
            namespace: fields.text("namespace")?,
        })
    }
}

impl Selector {
    /// Reads a selector.
    ///
    /// # Errors
    /// When a part has the wrong type.
    pub fn decode(fields: &mut Fields<'_>) -> Result<Self, Error> {
        Ok(Self {
            id: Id::decode(fields)?,
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
            group: Pattern::new(&self.id.gvk.group)?,
            version: Pattern::new(&self.id.gvk.version)?,
            kind: Pattern::new(&self.id.gvk.kind)?,
            name: Pattern::new(&self.id.name)?,
            namespace: Pattern::new(&self.id.namespace)?,
            labels: LabelSelector::parse(&self.labels)?,
            annotations: LabelSelector::parse(&self.annotations)?,
        })
    }
}

/// A compiled selector.
pub(crate) struct Matcher {
    group: Pattern,
    version: Pattern,
    kind: Pattern,
    name: Pattern,
    namespace: Pattern,
    labels: LabelSelector,
    annotations: LabelSelector,
}

impl Matcher {
    fn fits_gvk(&self, gvk: &Gvk) -> bool {
        self.group.fits(&gvk.group) && self.version.fits(&gvk.version) && self.kind.fits(&gvk.kind)
    }

    /// Whether an identity matches, its namespace as written.
    pub fn fits_id(&self, id: &Id) -> bool {
        self.fits_gvk(&id.gvk) && self.name.fits(&id.name) && self.namespace.fits(&id.namespace)
    }

    /// Whether the object's labels and annotations match.
    pub fn fits_meta(&self, resource: &Resource) -> bool {
        (self.labels.is_empty() || self.labels.matches(&resource.meta_strings("labels")))
            && (self.annotations.is_empty() || self.annotations.matches(&resource.meta_strings("annotations")))
    }

    /// Whether an object matches by its first or present name and namespace, its present type, labels and annotations.
    pub fn fits(&self, resource: &Resource) -> bool {
        // Every object is asked, and most are of another type or name, so nothing is copied to see that.
        let (api_version, kind) = (resource.text("apiVersion"), resource.text("kind"));
        let (group, version) = group_version(&api_version);
        if !(self.kind.fits(&kind) && self.group.fits(group) && self.version.fits(version)) {
            return false;
        }
        let first = resource.memory.previous().first();
        let fits_name =
            first.is_some_and(|first| self.name.fits(&first.name)) || self.name.fits(&resource.meta_text("name"));
        if !fits_name {
            return false;
        }
        let in_namespace = |kind: &str, namespace: &str| {
            let effective = effective_namespace(group, version, kind, namespace);
            self.namespace.fits(effective)
        };
        let fits_namespace = first.is_some_and(|first| in_namespace(&first.kind, &first.namespace))
            || in_namespace(&kind, &resource.meta_text("namespace"));
        fits_namespace && self.fits_meta(resource)
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
