//! The fields of all transformers together: the defaults, merged with those of `configurations` and `crds`.

use std::borrow::Cow;
use std::sync::LazyLock;

use super::{FieldSpec, defaults, merge_all};
use crate::Error;
use crate::error::Within;
use crate::kustomization::Fields;
use crate::resource::Gvk;
use crate::transform::order_of_kind;

/// Fields that hold the name of an object of a type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct References {
    /// The type referred to.
    pub gvk: Gvk,
    /// The fields that refer.
    pub referrers: Vec<FieldSpec>,
}

/// The fields every transformer touches.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Config {
    /// `namePrefix`.
    pub name_prefix: Vec<FieldSpec>,
    /// `nameSuffix`.
    pub name_suffix: Vec<FieldSpec>,
    /// `namespace`.
    pub namespace: Vec<FieldSpec>,
    /// `commonLabels` and `labels` with selectors.
    pub common_labels: Vec<FieldSpec>,
    /// Any `labels`.
    pub labels: Vec<FieldSpec>,
    /// `labels` with templates.
    pub template_labels: Vec<FieldSpec>,
    /// `commonAnnotations`.
    pub common_annotations: Vec<FieldSpec>,
    /// Where names of other objects stand.
    pub name_reference: Vec<References>,
    /// Where `$(VAR)` is replaced.
    pub var_reference: Vec<FieldSpec>,
    /// `images`.
    pub images: Vec<FieldSpec>,
    /// `replicas`.
    pub replicas: Vec<FieldSpec>,
}

/// kustomize's own fields. A constant.
static DEFAULTS: LazyLock<Config> = LazyLock::new(|| {
    let mut config = defaults::config();
    config.sort();
    config
});

impl Config {
    /// kustomize's own fields.
    pub fn defaults() -> &'static Config {
        &DEFAULTS
    }

    fn lists_mut(&mut self) -> [(&'static str, &mut Vec<FieldSpec>); 10] {
        let Config {
            name_prefix,
            name_suffix,
            namespace,
            common_labels,
            labels,
            template_labels,
            common_annotations,
            name_reference: _,
            var_reference,
            images,
            replicas,
        } = self;
        [
            ("namePrefix", name_prefix),
            ("nameSuffix", name_suffix),
            ("namespace", namespace),
            ("commonLabels", common_labels),
            ("labels", labels),
            ("templateLabels", template_labels),
            ("commonAnnotations", common_annotations),
            ("varReference", var_reference),
            ("images", images),
            ("replicas", replicas),
        ]
    }

    /// Orders the fields by type, as upstream does after every merge.
    fn sort(&mut self) {
        for (_, list) in self.lists_mut() {
            list.sort_by_cached_key(|spec| order_of_kind(&spec.gvk));
        }
        self.name_reference
            .sort_by_cached_key(|references| order_of_kind(&references.gvk));
    }

    /// Adds the fields of another configuration.
    ///
    /// # Errors
    /// When both name a field and differ in whether to create it.
    pub fn merge(&mut self, mut other: Config) -> Result<(), Error> {
        if *self == other || other == Config::default() {
            return Ok(());
        }
        for ((name, list), (_, new)) in self.lists_mut().into_iter().zip(other.lists_mut()) {
            merge_all(list, new).within(|| format!("failed to merge {name} fieldSpec"))?;
        }
        for references in other.name_reference {
            self.add_references(references)?;
        }
        self.sort();
        Ok(())
    }

    /// Merges into what may still be kustomize's own fields, as [`Config::merge`] does. Most kustomizations add nothing to
    /// these, so they are shared rather than copied.
    ///
    /// # Errors
    /// As [`Config::merge`].
    pub fn merge_into(config: &mut Cow<'static, Config>, other: Cow<'static, Config>) -> Result<(), Error> {
        if let (Cow::Borrowed(shared), Cow::Borrowed(other)) = (&*config, &other)
            && std::ptr::eq(*shared, *other)
        {
            return Ok(());
        }
        // The defaults hold no field twice and are sorted: merged into nothing, they are what they were.
        if matches!(other, Cow::Borrowed(_)) && **config == Config::default() {
            *config = other;
            return Ok(());
        }
        if *other == Config::default() {
            return Ok(());
        }
        config.to_mut().merge(other.into_owned())
    }

    /// Adds fields that refer to a type.
    ///
    /// # Errors
    /// As [`Config::merge`].
    pub fn add_references(&mut self, new: References) -> Result<(), Error> {
        match self
            .name_reference
            .iter_mut()
            .find(|references| references.gvk == new.gvk)
        {
            Some(references) => merge_all(&mut references.referrers, &new.referrers)
                .within(|| "failed to merge nameReference fieldSpec"),
            None => {
                self.name_reference.push(new);
                Ok(())
            }
        }
    }

    /// Reads a file of `configurations`.
    ///
    /// # Errors
    /// Malformed YAML, keys given twice, unknown fields, values of the wrong type.
    pub fn parse(content: &[u8]) -> Result<Self, Error> {
        let document = crate::kustomization::strict_document(content)?;
        let config = Fields::strict(document.as_ref(), "", |fields| {
            let mut config = Config::default();
            for (name, list) in config.lists_mut() {
                *list = fields.list(name, field_spec)?;
            }
            config.name_reference = fields.list("nameReference", |fields| {
                Ok(References {
                    gvk: gvk(fields)?,
                    referrers: fields.list("fieldSpecs", field_spec)?,
                })
            })?;
            config.sort();
            Ok(config)
        })?;
        Ok(config.unwrap_or_default())
    }
}

/// The group, version and kind among the fields.
///
/// # Errors
/// When one is no string.
pub(crate) fn gvk(fields: &mut Fields<'_>) -> Result<Gvk, Error> {
    Ok(Gvk {
        group: fields.text("group")?,
        version: fields.text("version")?,
        kind: fields.text("kind")?,
    })
}

/// One field specification.
///
/// # Errors
/// When a part has the wrong type.
pub(crate) fn field_spec(fields: &mut Fields<'_>) -> Result<FieldSpec, Error> {
    Ok(FieldSpec {
        gvk: gvk(fields)?,
        path: fields.text("path")?,
        create: fields.flag("create")?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(config: &[Cow<'static, Config>]) {
        let mut copied = Config::default();
        let mut shared = Cow::Owned(Config::default());
        for config in config {
            copied.merge(config.clone().into_owned()).unwrap();
            Config::merge_into(&mut shared, config.clone()).unwrap();
        }
        assert_eq!(copied, *shared);
    }

    #[test]
    fn sharing_the_defaults_makes_no_difference() {
        let defaults = || Cow::Borrowed(Config::defaults());
        let own = || Cow::Owned(Config::parse(b"images: [{path: spec/image, kind: Foo}]").unwrap());
        let nothing = || Cow::Owned(Config::default());
        check(&[defaults()]);
        check(&[defaults(), defaults()]);
        check(&[own(), defaults()]);
        check(&[nothing(), defaults(), own(), defaults(), nothing()]);
        let mut shared = nothing();
        Config::merge_into(&mut shared, defaults()).unwrap();
        assert!(matches!(shared, Cow::Borrowed(_)));
    }
}
