//! The lines to paste: what a visitor can do while everything runs, each a command that works as it stands.

use std::env;
use std::path::PathBuf;

use crate::sample::{APPS, LABEL, NAMESPACE, ROOT, WEB};
use crate::stage::Stage;

/// What the lines are about.
struct Facts {
    kubeconfig: PathBuf,
    clone: PathBuf,
    url: String,
    sample: bool,
    foreign: bool,
    kubectl: bool,
    proxy: bool,
}

/// All lines, headings included.
pub fn lines(stage: &Stage) -> Vec<String> {
    let is_set = |name: &str| env::var_os(name).is_some_and(|value| !value.is_empty());
    render(&Facts {
        kubeconfig: stage.kubeconfig(),
        clone: stage.clone_dir(),
        url: stage.origin.url.clone(),
        sample: stage.is_sample(),
        foreign: stage.foreign,
        kubectl: on_path("kubectl"),
        proxy: ["http_proxy", "all_proxy", "ALL_PROXY"].into_iter().any(is_set),
    })
}

fn on_path(program: &str) -> bool {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path).any(|dir| dir.join(program).is_file())
}

fn render(facts: &Facts) -> Vec<String> {
    let mut lines = vec!["Now try it: paste these lines into another terminal, in their order.".to_owned()];
    if !facts.kubectl {
        lines.push(
            "kubectl is not installed (https://kubernetes.io/docs/tasks/tools/); every other client that reads".into(),
        );
        lines.push("KUBECONFIG will do for what it does here.".into());
    }
    for (title, commands) in sections(facts) {
        lines.push(String::new());
        lines.push(format!("# {title}"));
        lines.extend(commands);
    }
    lines.push(String::new());
    lines.push("Everything runs until Ctrl-C.".to_owned());
    lines
}

fn sections(facts: &Facts) -> Vec<(&'static str, Vec<String>)> {
    let mut sections = vec![
        ("Look at what there is.", look(facts)),
        (
            "How to ask for a reconcile, as the flux command does it.",
            vec![reconcile()],
        ),
    ];
    let fetch = format!("reconcile gitrepository/{ROOT}");
    if facts.sample {
        sections.extend(story(facts, &fetch));
    } else {
        sections.push((
            "After a push: fetch at once, instead of within 30 seconds.",
            vec![fetch],
        ));
        sections.push((
            "Verify every object now; what somebody changes is put back without that.",
            vec![format!("reconcile kustomization/{ROOT}")],
        ));
        sections.push(("Suspend, and resume.", suspend(ROOT)));
    }
    if facts.foreign {
        let (key, value) = LABEL;
        let delete =
            format!("kubectl -n {NAMESPACE} delete kustomization,gitrepository,alert,provider -l {key}={value}");
        sections.push((
            "Before you end this: take all of it away again. The namespace, the definitions and a few ConfigMaps stay.",
            vec![delete],
        ));
    }
    sections
}

/// What only a repository can show that we may push to.
fn story(facts: &Facts, fetch: &str) -> Vec<(&'static str, Vec<String>)> {
    let clone = quoted(&facts.clone.display().to_string());
    let push = |message: &str| format!("git commit --quiet --all --message '{message}' && git push --quiet && {fetch}");
    let replicas = |count: u8| {
        format!(
            "kubectl -n {WEB} wait deployment/{WEB} --for=jsonpath='{{.status.availableReplicas}}'={count} && kubectl -n {WEB} get deployments"
        )
    };
    vec![
        (
            "Push a change: three replicas.",
            vec![
                format!(
                    "git clone --quiet {} {} {clone} && cd {clone}",
                    settings(facts),
                    facts.url
                ),
                "sed -i 's/replicas: .*/replicas: 3/' apps/deployment.yaml".to_owned(),
                push("Three replicas"),
                replicas(3),
            ],
        ),
        (
            "Edit a live object, and see that it is put back at once, and what was.",
            vec![
                format!("kubectl -n {WEB} scale deployment/{WEB} --replicas=5"),
                replicas(3),
                format!("kubectl -n {NAMESPACE} get kustomization/{APPS} -o jsonpath='{{.status.changes[-1:]}}'; echo"),
            ],
        ),
        (
            "Delete a file, and watch its object go.",
            vec![
                "git rm --quiet apps/greeting.yaml && sed -i '/greeting/d' apps/kustomization.yaml".to_owned(),
                push("No greeting"),
                format!("kubectl -n {WEB} wait configmap/greeting --for=delete && kubectl -n {WEB} get configmaps"),
            ],
        ),
        ("Suspend, and resume.", suspend(APPS)),
        (
            "Break a manifest, read the error, and mend it.",
            vec![
                "sed -i 's/- name: http/- name: [http/' apps/service.yaml".to_owned(),
                push("Broken"),
                format!(
                    "kubectl -n {NAMESPACE} wait kustomization/{APPS} --for=jsonpath='{{.status.conditions[?(@.type==\"Ready\")].reason}}'=BuildFailed"
                ),
                format!("kubectl -n {NAMESPACE} get kustomization {APPS}"),
                format!("git revert --no-edit HEAD && git push --quiet && {fetch}"),
                format!("kubectl -n {NAMESPACE} wait kustomization/{APPS} --for=condition=Ready"),
            ],
        ),
    ]
}

fn look(facts: &Facts) -> Vec<String> {
    let mut commands = vec![
        format!("export KUBECONFIG={}", quoted(&facts.kubeconfig.display().to_string())),
        format!("kubectl -n {NAMESPACE} get gitrepositories,kustomizations,providers,alerts"),
    ];
    if facts.sample {
        commands.push(format!("kubectl -n {WEB} get deployments,services,configmaps"));
    } else {
        let list = r#"{range .status.inventory.entries[*]}{.id}{"\n"}{end}"#;
        commands.push(format!(
            "kubectl -n {NAMESPACE} get kustomization {ROOT} -o jsonpath='{list}'"
        ));
    }
    commands
}

/// The field manager is that of the flux command: fields set by kubectl itself are taken back when a Kustomization is
/// applied from Git.
fn reconcile() -> String {
    format!(
        "reconcile() {{ kubectl -n {NAMESPACE} annotate \"$1\" --overwrite --field-manager=flux reconcile.fluxcd.io/requestedAt=\"$(date +%s.%N)\"; }}"
    )
}

/// See [`reconcile`] for the field manager.
fn suspend(name: &str) -> Vec<String> {
    let patch = |suspend: bool| {
        let patch = format!("{{\"spec\":{{\"suspend\":{suspend}}}}}");
        format!("kubectl -n {NAMESPACE} patch kustomization {name} --field-manager=flux --type=merge -p '{patch}'")
    };
    vec![patch(true), patch(false)]
}

/// What a clone needs to commit and to push, whatever the user has configured.
fn settings(facts: &Facts) -> String {
    let proxy = if facts.proxy { " -c http.proxy=" } else { "" };
    format!("-c user.name=You -c user.email=you@example.com{proxy}")
}

/// A text as one word for the shell.
fn quoted(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-".contains(c);
    if !text.is_empty() && text.chars().all(plain) {
        text.to_owned()
    } else {
        format!("'{}'", text.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts(sample: bool, foreign: bool) -> Facts {
        Facts {
            kubeconfig: "/a b/kubeconfig".into(),
            clone: "/x/clone".into(),
            url: "http://127.0.0.1:1/sample.git".into(),
            sample,
            foreign,
            kubectl: true,
            proxy: false,
        }
    }

    fn check(facts: &Facts, text: &str, expected: bool) {
        let lines = render(facts).join("\n");
        assert_eq!(lines.contains(text), expected, "{text}\n{lines}");
    }

    #[test]
    fn paths_are_words_for_the_shell() {
        check(&facts(true, false), "export KUBECONFIG='/a b/kubeconfig'", true);
        assert_eq!(quoted("it's"), r"'it'\''s'");
        assert_eq!(quoted("/plain/path-1.0_a"), "/plain/path-1.0_a");
    }

    #[test]
    fn only_the_sample_is_pushed_to() {
        check(
            &facts(true, false),
            "git clone --quiet -c user.name=You -c user.email=you@example.com http://127.0.0.1:1/sample.git /x/clone",
            true,
        );
        check(&facts(false, false), "git clone", false);
        check(&facts(false, false), "patch kustomization flux-system ", true);
    }

    #[test]
    fn what_was_brought_into_a_cluster_can_be_taken_away() {
        check(
            &facts(true, true),
            "delete kustomization,gitrepository,alert,provider -l ",
            true,
        );
        check(&facts(true, false), "delete kustomization", false);
    }

    #[test]
    fn a_missing_kubectl_and_a_proxy_are_thought_of() {
        check(
            &Facts {
                kubectl: false,
                ..facts(true, false)
            },
            "kubectl is not installed",
            true,
        );
        check(&facts(true, false), "kubectl is not installed", false);
        check(
            &Facts {
                proxy: true,
                ..facts(true, false)
            },
            "-c http.proxy= http://",
            true,
        );
    }
}
