//! What all kustomizations of one build share: the files, the limits used up so far, the schema.

use std::cell::{Cell, RefCell};
use std::ops::Deref;
use std::rc::Rc;
use std::sync::Arc;

use super::fetched::Fetched;
use crate::remote::redacted;
use crate::resource::Gvk;
use crate::schema::{Builtin, Schema};
use crate::transform::Pass;
use crate::{Builder, Error, Files, Options, Touch};

/// The schema in force.
#[derive(Clone)]
pub(crate) enum SchemaInForce {
    /// The one built into kustomize.
    Builtin,
    /// One a kustomization brought.
    Custom(Rc<Schema>),
}

impl Deref for SchemaInForce {
    type Target = Schema;

    fn deref(&self) -> &Schema {
        match self {
            SchemaInForce::Builtin => Schema::builtin(),
            SchemaInForce::Custom(schema) => schema,
        }
    }
}

/// The state of one build.
pub(crate) struct Session<'a> {
    /// Where everything is read.
    pub files: &'a dyn Files,
    /// What the caller chose.
    pub options: &'a Options,
    /// What is not in the files.
    pub fetched: Fetched<'a>,
    /// Whether the caller wants the build to end.
    pub stop: &'a dyn Fn() -> bool,
    warnings: RefCell<Vec<String>>,
    reads: Cell<usize>,
    bytes: Cell<u64>,
    /// None while no kustomization has chosen one.
    schema: RefCell<Option<SchemaInForce>>,
    /// Whether anything was merged before.
    merged: Cell<bool>,
    /// Whether an object was read before of whose type kustomize does not know without a schema if it has a namespace.
    unknown_type: Cell<bool>,
}

impl<'a> Session<'a> {
    /// A build that has not read anything.
    pub fn new(builder: &Builder<'a>) -> Self {
        Self {
            files: builder.files,
            options: builder.options,
            fetched: Fetched::new(builder.fetch, &builder.options.limits),
            stop: builder.stop,
            warnings: RefCell::default(),
            reads: Cell::new(0),
            bytes: Cell::new(0),
            schema: RefCell::default(),
            merged: Cell::default(),
            unknown_type: Cell::default(),
        }
    }

    /// Reads a file of a tree within the limits.
    ///
    /// # Errors
    /// When it cannot be read, or a limit is exceeded.
    pub fn read(&self, files: &dyn Files, path: &str) -> Result<Vec<u8>, Error> {
        self.within_limits(|limit| Ok(files.read(path, limit)?))
    }

    /// The content behind a URL, within the limits.
    ///
    /// # Errors
    /// When it cannot be had, must not be, or a limit is exceeded.
    pub fn fetch(&self, url: &str) -> Result<Vec<u8>, Error> {
        self.within_limits(|limit| self.fetched.file(url, limit))
    }

    /// Counts what is read; the reader gets the most bytes one file may have.
    fn within_limits(&self, read: impl FnOnce(u64) -> Result<Vec<u8>, Error>) -> Result<Vec<u8>, Error> {
        let limits = &self.options.limits;
        self.pass(&self.schema(), None).go_on()?;
        self.reads.set(self.reads.get() + 1);
        if self.reads.get() > limits.files {
            return Err(Error::fatal(format!("more than {} files read", limits.files)));
        }
        let content = read(limits.file_bytes)?;
        self.bytes.set(self.bytes.get().saturating_add(content.len() as u64));
        if self.bytes.get() > limits.total_bytes {
            return Err(Error::fatal(format!("more than {} bytes read", limits.total_bytes)));
        }
        Ok(content)
    }

    /// Checks how many objects there are.
    ///
    /// # Errors
    /// When there are too many.
    pub fn check_objects(&self, count: usize) -> Result<(), Error> {
        let most = self.options.limits.objects;
        if count > most {
            Err(Error::fatal(format!("more than {most} objects")))
        } else {
            Ok(())
        }
    }

    /// Notes what the caller should be told though the build goes on, without credentials of URLs.
    pub fn warn(&self, warning: &str) {
        let warning = redacted(warning).into_owned();
        let mut warnings = self.warnings.borrow_mut();
        if !warnings.contains(&warning) {
            warnings.push(warning);
        }
    }

    /// What was noted.
    pub fn warnings(&self) -> Vec<String> {
        self.warnings.take()
    }

    /// What a transformer is run with, on behalf of a field of a kustomization or of the build itself.
    pub fn pass<'s>(&'s self, schema: &'s Schema, author: Option<Arc<Touch>>) -> Pass<'s>
    where
        'a: 's,
    {
        Pass {
            schema,
            author,
            stop: self.stop,
            merged: &self.merged,
        }
    }

    /// The schema in force.
    pub fn schema(&self) -> SchemaInForce {
        self.schema.borrow().clone().unwrap_or(SchemaInForce::Builtin)
    }

    /// Whether a kustomization has chosen the schema. The first choice stays, as upstream's schema is one for all.
    pub fn schema_is_chosen(&self) -> bool {
        self.schema.borrow().is_some()
    }

    /// Notes what an object that was read is.
    pub fn note_type(&self, gvk: &Gvk) {
        if !self.unknown_type.get() && !gvk.is_known() {
            self.unknown_type.set(true);
        }
    }

    /// What becomes of the built-in types when a kustomization brings a schema now. Upstream adds what is loaded to what was
    /// loaded before: the built-in types when something was merged, and they are loaded after the new ones when their
    /// loading was only due.
    pub fn builtin_types(&self) -> Builtin {
        match (self.merged.get(), self.unknown_type.get()) {
            (true, _) => Builtin::Below,
            (false, true) => Builtin::Above,
            (false, false) => Builtin::Gone,
        }
    }

    /// Puts a schema in force.
    pub fn choose_schema(&self, schema: SchemaInForce) {
        *self.schema.borrow_mut() = Some(schema);
    }
}
