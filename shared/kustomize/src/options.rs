//! What a caller may choose about a build: what may be read, in which order objects come out, how much is too much.

/// Which files a kustomization may read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LoadRestriction {
    /// Only files in or below the kustomization's own directory; directories (bases, components) may be anywhere in the
    /// tree. The default of the command line.
    #[default]
    RootOnly,
    /// Any file of the tree. What Flux uses.
    None,
}

/// The order of the built objects when the root kustomization has no `sortOptions`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Reorder {
    /// The order of the inputs, depth first. What Flux uses.
    #[default]
    None,
    /// By kind: namespaces and definitions first, webhooks last. The default of the command line.
    Legacy,
}

/// Everything a build depends on besides the files.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// Which files may be read.
    pub load_restriction: LoadRestriction,
    /// The order of the objects.
    pub reorder: Reorder,
    /// Whether every object gets the label `app.kubernetes.io/managed-by: kustomize-v5.8.1`, as with `managedByLabel` in
    /// `buildMetadata`.
    pub managed_by_label: bool,
    /// Whether unknown fields of the root kustomization file (not of its bases) are dropped instead of refused. Flux
    /// re-encodes the root file and so loses them.
    pub lenient_root: bool,
    /// Bounds that keep hostile input from exhausting memory or time.
    pub limits: Limits,
}

/// Bounds of one build. Exceeding one is an error.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Kustomizations nested in one another, counted from the root.
    pub depth: usize,
    /// Files read, counted once per read.
    pub files: usize,
    /// Bytes of one file.
    pub file_bytes: u64,
    /// Bytes of all files read together.
    pub total_bytes: u64,
    /// Git repositories fetched.
    pub repositories: usize,
    /// Bytes of all files fetched from URLs together. Files of fetched repositories count as files read.
    pub fetched_bytes: u64,
    /// Objects held at any one time.
    pub objects: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            depth: 64,
            files: 100_000,
            file_bytes: 64 << 20,
            total_bytes: 512 << 20,
            repositories: 64,
            fetched_bytes: 64 << 20,
            objects: 200_000,
        }
    }
}
