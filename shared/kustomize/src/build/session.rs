//! What all kustomizations of one build share: the files, the limits used up so far, the schema.

use std::cell::{Cell, RefCell};
use std::ops::Deref;
use std::rc::Rc;

use crate::schema::Schema;
use crate::{Error, Files, Options};

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
    reads: Cell<usize>,
    bytes: Cell<u64>,
    schema: RefCell<SchemaInForce>,
}

impl<'a> Session<'a> {
    /// A build that has not read anything.
    pub fn new(files: &'a dyn Files, options: &'a Options) -> Self {
        Self {
            files,
            options,
            reads: Cell::new(0),
            bytes: Cell::new(0),
            schema: RefCell::new(SchemaInForce::Builtin),
        }
    }

    /// Reads a file within the limits.
    ///
    /// # Errors
    /// When it cannot be read, or a limit is exceeded.
    pub fn read(&self, path: &str) -> Result<Vec<u8>, Error> {
        let limits = &self.options.limits;
        self.reads.set(self.reads.get() + 1);
        if self.reads.get() > limits.files {
            return Err(Error::new(format!("more than {} files read", limits.files)));
        }
        let content = self.files.read(path, limits.file_bytes)?;
        self.bytes.set(self.bytes.get().saturating_add(content.len() as u64));
        if self.bytes.get() > limits.total_bytes {
            return Err(Error::new(format!("more than {} bytes read", limits.total_bytes)));
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
            Err(Error::new(format!("more than {most} objects")))
        } else {
            Ok(())
        }
    }

    /// The schema in force.
    pub fn schema(&self) -> SchemaInForce {
        self.schema.borrow().clone()
    }

    /// Puts a schema in force. The first one stays, as upstream's schema is one for all.
    pub fn offer_schema(&self, schema: Schema) {
        let mut current = self.schema.borrow_mut();
        if matches!(*current, SchemaInForce::Builtin) {
            *current = SchemaInForce::Custom(Rc::new(schema));
        }
    }
}
