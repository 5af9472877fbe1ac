//! The kustomization file at the root of a build, and whose its fields are.
//!
//! A build reads a file that was encoded anew, with the spec merged into it. What the build says of that file is said here
//! of what people wrote: a field of the file in the artifact, with its place there, or a field of the spec. Of what neither
//! of them wrote nothing is said.

use std::cell::{OnceCell, RefCell};
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use kustomize::{FileError, Files, Origin, Overlay, Positions, Problem, Touch};

/// The lists whose entries make objects, which come from the line of the entry.
const GENERATORS: [&str; 3] = ["configMapGenerator", "secretGenerator", "generators"];

/// A file to lay over the artifact.
pub struct Root {
    /// Path from the root of the artifact, symbolic links on the way resolved.
    pub path: String,
    /// The content.
    pub content: String,
    /// The file in the artifact; nothing where there is none.
    written: Option<String>,
    merged: Merged,
    /// Lines of the content at which generators are, and those at which they were written.
    lines: OnceCell<HashMap<usize, usize>>,
    touches: RefCell<HashMap<Arc<Touch>, Option<Arc<str>>>>,
}

/// The fields of the file that the spec gave, whole or in part.
#[derive(Debug, Default)]
pub(super) struct Merged(BTreeMap<String, Gift>);

/// Where a field comes from, if not from the file alone.
#[derive(Debug, Default)]
struct Gift {
    /// Whether the file has it too, so that it is of both.
    shared: bool,
    /// The fields of the spec; none for what nobody wrote.
    from: Vec<String>,
}

impl Merged {
    /// Nobody wrote the field.
    pub fn made_up(&mut self, field: &str) {
        self.0.insert(field.to_owned(), Gift::default());
    }

    /// A field is the spec's alone.
    pub fn given(&mut self, field: impl Into<String>, from: impl Into<String>) {
        let from = vec![from.into()];
        self.0.insert(field.into(), Gift { shared: false, from });
    }

    /// A field that was there has something of the spec too.
    pub fn changed(&mut self, field: String, from: String) {
        let there = || Gift {
            shared: true,
            from: Vec::new(),
        };
        self.0.entry(field).or_insert_with(there).from.push(from);
    }
}

/// Whose a field is.
#[derive(Debug, PartialEq, Eq)]
enum Whose {
    /// The author's of the file, by this name.
    File(String),
    /// The spec's, by this name.
    Spec(String),
    /// Nobody wrote it.
    Nobody,
}

impl Root {
    pub(super) fn new(path: String, content: String, written: Option<String>, merged: Merged) -> Self {
        Self {
            path,
            content,
            written,
            merged,
            lines: OnceCell::new(),
            touches: RefCell::default(),
        }
    }

    /// The artifact with this file in it.
    ///
    /// # Errors
    /// A path that leads out of it.
    pub fn over<'a>(&self, files: &'a dyn Files) -> Result<Overlay<'a>, FileError> {
        let mut overlay = Overlay::new(files);
        overlay.insert(&self.path, self.content.as_str())?;
        Ok(overlay)
    }

    /// The error of a build, in terms of what people wrote.
    pub fn explain(&self, error: kustomize::Error) -> kustomize::Error {
        error.each(|problem| self.explain_problem(problem))
    }

    fn explain_problem(&self, problem: &mut Problem) {
        problem.origin = problem.origin.take().and_then(|origin| self.origin(origin));
        let touches = std::mem::take(&mut problem.touched_by).into_iter();
        problem.touched_by = touches.filter_map(|touch| self.renamed(touch)).collect();
        let here = problem.file.as_ref() == Some(&self.path);
        if here {
            (problem.line, problem.column) = (None, None);
        }
        if problem.kustomization.as_ref() != Some(&self.path) {
            return;
        }
        let whose = match &problem.field {
            Some(field) => self.whose(field),
            None if self.written.is_some() => return,
            None => Whose::Nobody,
        };
        let elsewhere = match whose {
            Whose::File(name) => {
                if here && let Some((line, column)) = problem.field.as_deref().and_then(|field| self.place(field)) {
                    (problem.line, problem.column) = (Some(line), Some(column));
                }
                problem.field = Some(name);
                return;
            }
            Whose::Spec(name) => Some(name),
            Whose::Nobody => None,
        };
        problem.field = elsewhere;
        problem.kustomization = None;
        problem.file.take_if(|_| here);
    }

    /// The origin of an object, with the line as it was written; nothing for a place that nobody wrote.
    pub fn origin(&self, mut origin: Origin) -> Option<Origin> {
        if origin.path != self.path || origin.repository.is_some() {
            return Some(origin);
        }
        self.written.as_ref()?;
        origin.line = origin.line.and_then(|line| self.lines().get(&line).copied());
        Some(origin)
    }

    /// A field that changed an object, as texts name it; nothing where nobody wrote it.
    pub fn touch(&self, touch: &Arc<Touch>) -> Option<Arc<str>> {
        if let Some(known) = self.touches.borrow().get(touch) {
            return known.clone();
        }
        let text = self.renamed(Arc::clone(touch)).map(|touch| touch.to_string().into());
        self.touches.borrow_mut().insert(Arc::clone(touch), text.clone());
        text
    }

    fn renamed(&self, touch: Arc<Touch>) -> Option<Arc<Touch>> {
        if touch.kustomization != self.path {
            return Some(touch);
        }
        let (kustomization, field) = match self.whose(&touch.field) {
            Whose::File(field) => (self.path.clone(), field),
            Whose::Spec(field) => (String::new(), field),
            Whose::Nobody => return None,
        };
        Some(Arc::new(Touch { kustomization, field }))
    }

    fn whose(&self, field: &str) -> Whose {
        let Merged(gifts) = &self.merged;
        let (head, rest) = field.split_at(field.find('.').unwrap_or(field.len()));
        if let Some(Gift { shared, from }) = gifts.get(head) {
            let Some((first, others)) = from.split_first() else {
                return Whose::Nobody;
            };
            let others: String = others.iter().map(|other| format!(" with {other}")).collect();
            return match shared {
                true => Whose::File(format!("{field} with {first}{others}")),
                false => Whose::Spec(format!("{first}{rest}{others}")),
            };
        }
        // A list as a whole is the spec's where its first entry is.
        if gifts.get(&format!("{head}[0]")).is_some_and(|gift| !gift.shared) {
            return Whose::Spec(format!("spec.{field}"));
        }
        match self.written {
            Some(_) => Whose::File(field.to_owned()),
            None => Whose::Nobody,
        }
    }

    /// Line and column of a field in the file in the artifact.
    fn place(&self, field: &str) -> Option<(usize, usize)> {
        Positions::read(self.written.as_ref()?.as_bytes())?.of(field)
    }

    fn lines(&self) -> &HashMap<usize, usize> {
        self.lines.get_or_init(|| self.read_lines().unwrap_or_default())
    }

    fn read_lines(&self) -> Option<HashMap<usize, usize>> {
        let written = Positions::read(self.written.as_ref()?.as_bytes())?;
        let encoded = Positions::read(self.content.as_bytes())?;
        let mut lines = HashMap::new();
        for list in GENERATORS {
            // What is behind the last entry is at the place of the list.
            let end = encoded.of(list);
            let entries = (0..).map(|at| format!("{list}[{at}]"));
            for entry in entries.take_while(|entry| encoded.of(entry) != end) {
                if let (Some((encoded, _)), Some((line, _))) = (encoded.of(&entry), written.of(&entry)) {
                    lines.insert(encoded, line);
                }
            }
        }
        Some(lines)
    }
}

#[cfg(test)]
mod tests {
    use api::kustomize::KustomizationSpec;
    use kustomize::{Builder, MemoryFiles, Options};
    use serde_json::{Value, json};

    use super::*;

    const APP: [(&str, &str); 2] = [
        ("base/kustomization.yaml", "resources: [app.yaml]\n"),
        (
            "base/app.yaml",
            "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: app}\ndata: {k: v}\n",
        ),
    ];

    fn spec(fields: Value) -> KustomizationSpec {
        let mut spec = json!({"interval": "1m", "prune": true, "sourceRef": {"kind": "GitRepository", "name": "s"}});
        if let (Some(spec), Value::Object(fields)) = (spec.as_object_mut(), fields) {
            spec.extend(fields);
        }
        serde_json::from_value(spec).unwrap()
    }

    fn tree<'a>(written: Option<&'a str>, more: &[(&'a str, &'a str)]) -> MemoryFiles {
        let mut files = MemoryFiles::default();
        let written = written.map(|written| ("kustomization.yaml", written));
        for (path, content) in APP.iter().chain(more).copied().chain(written) {
            files.insert(path, content).unwrap();
        }
        files
    }

    fn build(files: &MemoryFiles, fields: Value) -> (Root, Result<Vec<kustomize::BuiltObject>, kustomize::Error>) {
        let root = super::super::kustomization(files, "", &spec(fields)).unwrap();
        let options = Options::default();
        let built = Builder::new(&root.over(files).unwrap(), &options).build("");
        (root, built.map(|built| built.objects))
    }

    /// The problems of a build.
    #[track_caller]
    fn check(written: Option<&str>, more: &[(&str, &str)], fields: Value, expected: &[&str]) {
        let (root, built) = build(&tree(written, more), fields);
        let error = root.explain(built.unwrap_err()).to_string();
        assert_eq!(error.lines().collect::<Vec<_>>(), expected);
    }

    /// What changed the objects, and where they are from.
    #[track_caller]
    fn check_origins(written: Option<&str>, more: &[(&str, &str)], fields: Value, expected: &[(&str, &[&str])]) {
        let (root, built) = build(&tree(written, more), fields);
        let objects = built.unwrap();
        let told = objects.iter().map(|object| {
            let origin = object.origin.clone().and_then(|origin| root.origin(origin));
            let touches = object.touched_by.iter().filter_map(|touch| root.touch(touch));
            let touches: Vec<String> = touches.map(|touch| touch.to_string()).collect();
            (origin.map(|origin| origin.to_string()).unwrap_or_default(), touches)
        });
        let expected = expected.iter().map(|(origin, touches)| {
            let touches = touches.iter().map(|touch| (*touch).to_owned()).collect();
            ((*origin).to_owned(), touches)
        });
        assert_eq!(told.collect::<Vec<_>>(), expected.collect::<Vec<_>>());
    }

    const BAD: &str = "[{\"op\": \"replace\", \"path\": \"/nope/nope\", \"value\": 1}]";
    const GOOD: &str = "[{\"op\": \"add\", \"path\": \"/data/x\", \"value\": \"y\"}]";

    #[test]
    fn a_patch_of_the_file_is_placed_in_it_and_one_of_the_spec_is_named() {
        let patches = |texts: [&str; 3]| {
            let entries: String = texts
                .iter()
                .map(|text| format!("  # why\n  - target: {{kind: ConfigMap}}\n    patch: '{text}'\n"))
                .collect();
            format!("# mine\nresources:\n  - base\npatches:\n{entries}")
        };
        let given = |text: &str| json!({"patches": [{"patch": text, "target": {"kind": "ConfigMap"}}]});
        let wrong = "patching ConfigMap.v1.[noGrp]/app.[noNs]: operation 0: replace operation does not apply: doc is missing path: /nope/nope";
        let object = "; ConfigMap.v1.[noGrp]/app.[noNs] is from base/app.yaml:1";
        check(
            Some(&patches([GOOD, BAD, GOOD])),
            &[],
            given(GOOD),
            &[&format!(
                "{wrong} (at kustomization.yaml:9:5, patches[1]){object}, changed by kustomization.yaml patches[0]"
            )],
        );
        check(
            Some(&patches([GOOD, GOOD, GOOD])),
            &[],
            given(BAD),
            &[&format!(
                "{wrong} (at spec.patches[0]){object}, changed by kustomization.yaml patches[0]"
            )],
        );
    }

    #[test]
    fn where_there_is_no_file_nothing_is_said_of_one() {
        let fields = json!({"targetNamespace": "apps", "namePrefix": "my-"});
        let app = [(
            "base/app.yaml:1",
            &["spec.targetNamespace", "spec.namePrefix"] as &[&str],
        )];
        check_origins(None, &[], fields.clone(), &app);
        check(
            None,
            &[("same.yaml", APP[1].1)],
            fields,
            &[
                "merging resources from './same.yaml': may not add resource with an already registered id: \
                ConfigMap.v1.[noGrp]/app.[noNs], which is also in base/app.yaml:1 (at same.yaml:1)",
            ],
        );
    }

    #[test]
    fn the_namespace_is_of_whoever_gave_it() {
        let written = "namespace: mine\nresources: [base]\nnamePrefix: my-\n";
        let prefix = "kustomization.yaml namePrefix";
        check_origins(
            Some(written),
            &[],
            json!({}),
            &[("base/app.yaml:1", &["kustomization.yaml namespace", prefix])],
        );
        check_origins(
            Some(written),
            &[],
            json!({"targetNamespace": "theirs"}),
            &[("base/app.yaml:1", &["spec.targetNamespace", prefix])],
        );
    }

    #[test]
    fn a_component_is_of_whoever_named_it() {
        let component = "apiVersion: kustomize.config.k8s.io/v1alpha1\nkind: Component\nnameSuffix: -c\n";
        let there = ("c/kustomization.yaml", component);
        let missing = |at: &str| {
            format!("accumulating components: loader.New: must build at directory: 'gone' doesn't exist (at {at})")
        };
        let written = "resources: [base]\ncomponents:\n- c\n";
        check(
            Some(written),
            &[there],
            json!({"components": ["c", "gone"]}),
            &[&missing("spec.components[1]")],
        );
        check(
            Some("resources: [base]\ncomponents:\n- c\n- gone\n"),
            &[there],
            json!({"components": ["c"]}),
            &[&missing("kustomization.yaml:4:3, components[1]")],
        );
        check(
            Some(written),
            &[there],
            json!({"components": ["no", "gone"], "ignoreMissingComponents": false}),
            &[
                &missing("spec.components[0]").replace("'gone'", "'no'"),
                &missing("spec.components[1]"),
            ],
        );
    }

    #[test]
    fn an_image_can_be_of_both() {
        let pod = (
            "base/app.yaml",
            "apiVersion: v1\nkind: Pod\nmetadata: {name: app}\nspec: {containers: [{name: a, image: a}, {name: b, image: b}]}\n",
        );
        check_origins(
            Some("resources: [base]\nimages:\n- {name: a, newTag: '1'}\n"),
            &[pod],
            json!({"images": [{"name": "b", "newTag": "2"}, {"name": "a", "newName": "c"}, {"name": "b", "newName": "d"}]}),
            &[(
                "base/app.yaml:1",
                &[
                    "kustomization.yaml images[0] with spec.images[1]",
                    "spec.images[0] with spec.images[2]",
                ],
            )],
        );
    }

    #[test]
    fn generated_objects_are_from_the_line_as_it_was_written() {
        check_origins(
            Some(
                "# mine\nconfigMapGenerator:\n\n  - name: one\n    literals: [a=b]\n  # more\n  - {name: two, literals: [a=b]}\n",
            ),
            &[],
            json!({"namePrefix": "my-"}),
            &[
                ("kustomization.yaml:4", &["spec.namePrefix"]),
                ("kustomization.yaml:7", &["spec.namePrefix"]),
            ],
        );
    }

    #[test]
    fn lists_are_the_specs_where_nobody_else_has_them() {
        let root = |written: Option<&str>| {
            let mut merged = Merged::default();
            merged.given("components[0]", "spec.components[0]");
            merged.made_up("buildMetadata");
            Root::new("k.yaml".into(), String::new(), written.map(str::to_owned), merged)
        };
        let whose = |field: &str| root(Some("")).whose(field);
        assert_eq!(whose("components"), Whose::Spec("spec.components".into()));
        assert_eq!(whose("buildMetadata"), Whose::Nobody);
        assert_eq!(whose("patches[0].target"), Whose::File("patches[0].target".into()));
        assert_eq!(root(None).whose("resources[0]"), Whose::Nobody);
    }
}
