//! The program as it is called: what it prints and writes, and how it ends, where no network is needed.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use anyhow::{Context, Result};

use crate::call::Folder;

const OBJECTS: &str = "apiVersion: apps/v1
kind: Deployment
metadata: {name: Web, namespace: Shop}
spec: {replicas: 1}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: settings, namespace: other}
data: {b: 'yes', a: '1'}
---
apiVersion: v1
kind: Namespace
metadata: {name: Shop}
";

/// A kustomization of three objects in `app`.
fn app() -> Result<Folder> {
    let folder = Folder::new()?;
    folder.write("app/kustomization.yaml", "resources: [all.yaml]\n")?;
    folder.write("app/all.yaml", OBJECTS)?;
    Ok(folder)
}

const NAMESPACE: &str = "apiVersion: v1\nkind: Namespace\nmetadata:\n  name: Shop\n";
const CONFIG: &str = "apiVersion: v1\ndata:\n  a: \"1\"\n  b: \"yes\"\nkind: ConfigMap\nmetadata:\n  name: settings\n  namespace: other\n";
const DEPLOYMENT: &str =
    "apiVersion: apps/v1\nkind: Deployment\nmetadata:\n  name: Web\n  namespace: Shop\nspec:\n  replicas: 1\n";

/// What kustomize says to those who name an order.
const REORDER: &str =
    "Flag --reorder has been deprecated, use the new 'sortOptions' field in kustomization.yaml instead.\n";

#[test]
fn objects_are_printed_in_the_order_that_is_asked_for() -> Result<()> {
    let folder = app()?;
    let legacy = [NAMESPACE, CONFIG, DEPLOYMENT].join("---\n");
    let inputs = [DEPLOYMENT, CONFIG, NAMESPACE].join("---\n");
    folder.prints(&["app"], &legacy)?;
    folder.call(&["--reorder=none", "app/"])?.is(0, &inputs, REORDER);
    let call = folder.call(&["--reorder", "none", "./app", "--reorder", "legacy"])?;
    call.is(0, &legacy, REORDER);
    folder.below("app").prints(&[], &legacy)?;
    folder.below("app").prints(&["-o", ""], &legacy)?;
    Ok(())
}

#[test]
fn a_label_says_who_built_where_a_flag_or_a_variable_asks_for_it() -> Result<()> {
    let folder = Folder::new()?;
    folder.write("kustomization.yaml", "resources: [all.yaml]\n")?;
    folder.write("all.yaml", "apiVersion: v1\nkind: Secret\nmetadata: {name: a}\n")?;
    let plain = "apiVersion: v1\nkind: Secret\nmetadata:\n  name: a\n";
    let labelled = "apiVersion: v1\nkind: Secret\nmetadata:\n  labels:\n    app.kubernetes.io/managed-by: kustomize-v5.8.1\n  name: a\n";
    let notice = "Flag --enable-managedby-label has been deprecated, The flag `enable-managedby-label` has been deprecated. Use \
                  the `managedByLabel` option in the `buildMetadata` field instead.\n";
    folder.call(&["--enable-managedby-label"])?.is(0, labelled, notice);
    folder.call(&["--enable-managedby-label=false"])?.is(0, plain, notice);
    folder
        .call_with(&[], &[("KUSTOMIZE_ENABLE_MANAGEDBY_LABEL", "on")])?
        .is(0, labelled, "");
    folder
        .call_with(&[], &[("KUSTOMIZE_ENABLE_MANAGEDBY_LABEL", "true")])?
        .is(0, plain, "");
    Ok(())
}

#[test]
fn a_file_gets_what_would_be_printed() -> Result<()> {
    let folder = app()?;
    folder.prints(&["app", "-o", "out.yaml"], "")?;
    assert_eq!(folder.read("out.yaml")?, [NAMESPACE, CONFIG, DEPLOYMENT].join("---\n"));
    folder.write("app/all.yaml", NAMESPACE)?;
    folder.prints(&["app", "--output=out.yaml"], "")?;
    assert_eq!(folder.read("out.yaml")?, NAMESPACE);
    folder.prints(&["app", "-o", "/dev/stdout"], NAMESPACE)?;
    Ok(())
}

#[test]
fn a_directory_gets_a_file_for_each_object() -> Result<()> {
    let folder = app()?;
    folder.write("out/other.yaml", "kept")?;
    folder.prints(&["app", "-o", "out"], "")?;
    assert_eq!(
        folder.names("out")?,
        [
            "other.yaml",
            "other_v1_configmap_settings.yaml",
            "shop_apps_v1_deployment_web.yaml",
            "v1_namespace_shop.yaml"
        ]
    );
    assert_eq!(folder.read("out/other_v1_configmap_settings.yaml")?, CONFIG);
    assert_eq!(folder.read("out/shop_apps_v1_deployment_web.yaml")?, DEPLOYMENT);
    assert_eq!(folder.read("out/v1_namespace_shop.yaml")?, NAMESPACE);
    assert_eq!(folder.read("out/other.yaml")?, "kept");
    Ok(())
}

#[test]
fn in_one_namespace_the_files_are_not_named_for_it() -> Result<()> {
    let folder = app()?;
    folder.write("app/kustomization.yaml", "namespace: one\nresources: [all.yaml]\n")?;
    folder.write("out/.keep", "")?;
    folder.prints(&["app", "-o", "out/"], "")?;
    assert_eq!(
        folder.names("out")?,
        [
            ".keep",
            "apps_v1_deployment_web.yaml",
            "v1_configmap_settings.yaml",
            "v1_namespace_one.yaml"
        ]
    );
    Ok(())
}

#[test]
fn a_directory_is_not_left_and_no_file_is_written_twice() -> Result<()> {
    let folder = app()?;
    folder.write("out/.keep", "")?;
    let object = |name: &str| format!("apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: {name}}}\n");
    folder.write("app/all.yaml", &object("a/../../../b"))?;
    folder.fails(
        &["app", "-o", "out"],
        "Error: ConfigMap 'a/../../../b': 'v1_configmap_a/../../../b.yaml' is no name of a file: write to a file instead of a \
         directory\n",
    )?;
    folder.write("app/all.yaml", &format!("{}---\n{}", object("admin"), object("Admin")))?;
    folder.fails(
        &["app", "-o", "out"],
        "Error: ConfigMap 'Admin' and ConfigMap 'admin' would both be written to 'v1_configmap_admin.yaml': write to a file \
         instead of a directory\n",
    )?;
    assert_eq!(folder.names("out")?, [".keep"]);
    Ok(())
}

#[test]
fn what_cannot_be_written_is_an_error() -> Result<()> {
    let folder = app()?;
    folder.fails(
        &["app", "-o", "nowhere/out.yaml"],
        "Error: nowhere/out.yaml: No such file or directory (os error 2)\n",
    )?;
    folder.fails(
        &["app", "-o", "nowhere/"],
        "Error: nowhere/: Is a directory (os error 21)\n",
    )?;
    folder.write("out/v1_namespace_shop.yaml/in-the-way", "")?;
    folder.fails(
        &["app", "-o", "out"],
        "Error: out/v1_namespace_shop.yaml: Is a directory (os error 21)\n",
    )?;
    let full = folder.call(&["app", "-o", "/dev/full"])?;
    full.is(1, "", "Error: /dev/full: No space left on device (os error 28)\n");
    Ok(())
}

#[test]
fn a_failed_build_touches_no_file() -> Result<()> {
    let folder = app()?;
    folder.write("out.yaml", "old")?;
    folder.write("app/kustomization.yaml", "resources: [all.yaml]\nnonsense: true\n")?;
    let call = folder.call(&["app", "-o", "out.yaml"])?;
    assert_eq!((call.code, call.out.as_str()), (1, ""));
    assert!(
        call.err.starts_with("Error: ") && call.err.contains("nonsense"),
        "{}",
        call.err
    );
    assert_eq!(folder.read("out.yaml")?, "old");
    Ok(())
}

#[test]
fn what_is_no_directory_is_an_error() -> Result<()> {
    let folder = app()?;
    for (target, reason) in [
        ("nowhere", "No such file or directory (os error 2)"),
        ("app/all.yaml", "not a directory"),
        ("", "the path is empty"),
    ] {
        folder.fails(
            &[target],
            &format!("Error: must build at directory: '{target}': {reason}\n"),
        )?;
    }
    let empty = Folder::new()?;
    let call = empty.call(&[])?;
    assert_eq!((call.code, call.out.as_str()), (1, ""));
    let said = "unable to find one of 'kustomization.yaml', 'kustomization.yml' or 'Kustomization' in directory '";
    assert!(call.err.contains(said), "{}", call.err);
    Ok(())
}

#[test]
fn files_outside_are_read_only_where_that_is_allowed() -> Result<()> {
    let folder = app()?;
    folder.write("outside/kustomization.yaml", "resources: [../app/all.yaml]\n")?;
    let call = folder.call(&["outside"])?;
    assert_eq!((call.code, call.out.as_str()), (1, ""));
    assert!(call.err.contains("security; file '"), "{}", call.err);
    folder.prints(
        &["outside", "--load-restrictor=LoadRestrictionsNone"],
        &[NAMESPACE, CONFIG, DEPLOYMENT].join("---\n"),
    )?;
    assert_eq!(folder.call(&["outside", "--load-restrictor", ""])?.code, 1);
    Ok(())
}

#[test]
fn bad_flags_end_with_1_and_one_error() -> Result<()> {
    let folder = app()?;
    for (arguments, said) in [
        (&["--nosuch"][..], "Error: unexpected argument '--nosuch' found\n"),
        (&["app", "app"], "Error: unexpected argument 'app' found\n"),
        (
            &["--reorder", "foo"],
            "Error: invalid value 'foo' for '--reorder <REORDER>'\n  [possible values: legacy, none]\n",
        ),
        (
            &["--load-restrictor=none"],
            "Error: invalid value 'none' for '--load-restrictor <LOAD_RESTRICTOR>'\n  [possible values: \
             LoadRestrictionsRootOnly, LoadRestrictionsNone]\n",
        ),
        (
            &["--enable-managedby-label=maybe"],
            "Error: invalid value 'maybe' for '--enable-managedby-label': true or false is expected\n",
        ),
        (
            &["-o"],
            "Error: a value is required for '--output <FILE|DIR>' but none was supplied\n",
        ),
        (
            &["--enable-helm", "app"],
            "Error: --enable-helm is not supported: Helm charts are not rendered; render them first and name the result as a resource\n",
        ),
        (
            &["app", "--enable-alpha-plugins"],
            "Error: --enable-alpha-plugins is not supported: only the generators and transformers built into kustomize run\n",
        ),
    ] {
        let call = folder.call(arguments)?;
        assert_eq!((call.code, call.out.as_str()), (1, ""), "{arguments:?}");
        assert!(call.err.starts_with(said), "{arguments:?}: {}", call.err);
    }
    Ok(())
}

#[test]
fn help_and_version_are_no_errors() -> Result<()> {
    let folder = Folder::new()?;
    let version = concat!(
        "kustomize-build ",
        env!("CARGO_PKG_VERSION"),
        " (as kustomize v5.8.1)\n"
    );
    folder.prints(&["--version"], version)?;
    let help = folder.call(&["--help"])?;
    assert_eq!((help.code, help.err.as_str()), (0, ""));
    for flag in [
        "--output <FILE|DIR>",
        "--reorder",
        "--load-restrictor",
        "--no-remote-bases",
        "--allow-host <HOST>",
    ] {
        assert!(help.out.contains(flag), "{flag}: {}", help.out);
    }
    Ok(())
}

#[test]
fn every_file_is_named_where_that_is_asked_for() -> Result<()> {
    let folder = app()?;
    let root = folder.path().display();
    for flag in ["-v", "--verbose", "--stack-trace"] {
        let call = folder.call(&["app", flag])?;
        assert_eq!(
            (call.code, call.out),
            (0, [NAMESPACE, CONFIG, DEPLOYMENT].join("---\n"))
        );
        let (reads, sum) = call.err.rsplit_once("built ").context("no sum")?;
        let expected = format!(
            "read {root}/app/kustomization.yaml: 22 bytes\nread {root}/app/all.yaml: {} bytes\n",
            OBJECTS.len()
        );
        assert_eq!(reads, expected);
        let expected = format!("3 objects from 2 files ({} bytes) in ", 22 + OBJECTS.len());
        assert!(sum.starts_with(&expected) && sum.ends_with(" s\n"), "{sum}");
    }
    Ok(())
}

#[test]
fn a_directory_that_may_not_be_written_to_is_an_error() -> Result<()> {
    let folder = app()?;
    folder.write("out/.keep", "")?;
    fs::set_permissions(folder.path().join("out"), fs::Permissions::from_mode(0o555))?;
    // Somebody who may do everything writes nevertheless.
    let may = fs::write(folder.path().join("out/probe"), "").is_ok();
    assert_eq!(folder.call(&["app", "-o", "out"])?.code, if may { 0 } else { 1 });
    Ok(())
}
