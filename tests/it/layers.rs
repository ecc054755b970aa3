//! The layers of `shared`, as the map in its `lib.rs` orders them: a module uses only modules of lower rows.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

fn source() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/src").canonicalize().expect("the workspace exists")
}

fn text(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap()
}

/// The modules of the map and their rows, counted from the top.
fn rows() -> BTreeMap<String, usize> {
    let map = text(&source().join("lib.rs"));
    let rows = map.lines().filter_map(|line| line.strip_prefix("//! | [")?.split_once(" | "));
    let modules = rows.enumerate().flat_map(|(row, (modules, _))| {
        modules.split('`').skip(1).step_by(2).map(move |module| (module.to_owned(), row))
    });
    modules.collect()
}

/// Every file of the crate but `lib.rs`, with the module at the top level that it belongs to.
fn files() -> Vec<(String, PathBuf)> {
    let mut files = Vec::new();
    for entry in source().read_dir().unwrap() {
        let path = entry.unwrap().path();
        let module = path.file_stem().unwrap().to_str().unwrap().to_owned();
        if path.is_dir() {
            files.extend(path.read_dir().unwrap().map(|file| (module.clone(), file.unwrap().path())));
        } else if module != "lib" {
            files.push((module, path));
        }
    }
    files
}

/// The modules at the top level that a text names outside comments.
fn modules_used(text: &str) -> BTreeSet<&str> {
    let code = text.lines().map(|line| line.split("//").next().unwrap_or_default());
    let paths = code.flat_map(|line| line.split("crate::").skip(1));
    paths.map(|path| path.split(|letter: char| letter != '_' && !letter.is_alphanumeric()).next().unwrap()).collect()
}

#[test]
fn a_module_of_shared_uses_only_modules_of_lower_layers() {
    let rows = rows();
    let files = files();
    let modules: BTreeSet<&String> = files.iter().map(|(module, _)| module).collect();
    assert_eq!(rows.keys().collect::<BTreeSet<_>>(), modules, "the map in lib.rs has a row for every module");
    let mut uses = 0;
    for (module, path) in &files {
        assert!(path.is_file(), "{path:?}: a folder in a module's folder is not read here");
        let text = text(path);
        // Each of these could name a module in a way that is not read here. The parent of such a file is the crate itself.
        let is_below_crate = path.parent() == Some(&*source()) || path.ends_with("mod.rs");
        let names_otherwise = text.contains("crate::{")
            || text.contains("super::super")
            || (is_below_crate && text.replace("super::*", "").contains("super::"));
        assert!(!names_otherwise, "{path:?}: name modules by `crate::…`");
        for used in modules_used(&text).into_iter().filter(|used| used != module) {
            let row = rows.get(used).unwrap_or_else(|| panic!("{path:?} uses {used}, which the map does not have"));
            assert!(rows[module] < *row, "{path:?} uses {used}, which is not in a row below {module}'s");
            uses += 1;
        }
    }
    assert!(uses > 30, "{uses}");
}
