//! Looks for programs on the PATH that some tests need: without one, its tests are ignored instead of passing.

use std::path::PathBuf;

/// What a program is called in `cfg(has_…)` and in the environment of the build, and the names that it goes by: Chromium as
/// Linux distributions name it, and Chrome, for the console page; Node.js for a bot of the examples.
const PROGRAMS: [(&str, &[&str]); 2] =
    [("chromium", &["chromium", "chromium-browser", "google-chrome"]), ("node", &["node"])];

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-env-changed=PATH");
    let folders: Vec<PathBuf> = std::env::var_os("PATH").iter().flat_map(std::env::split_paths).collect();
    for (program, names) in PROGRAMS {
        println!("cargo::rustc-check-cfg=cfg(has_{program})");
        let mut files = names.iter().flat_map(|name| folders.iter().map(move |folder| folder.join(name)));
        let variable = program.to_uppercase();
        match files.find(|file| file.is_file()) {
            Some(file) => {
                println!("cargo::rustc-cfg=has_{program}");
                println!("cargo::rustc-env={variable}={}", file.display());
                println!("cargo::rerun-if-changed={}", file.display());
            }
            // One that is installed later changes one of these folders.
            None => {
                println!("cargo::rustc-env={variable}=");
                for folder in folders.iter().filter(|folder| folder.is_dir()) {
                    println!("cargo::rerun-if-changed={}", folder.display());
                }
            }
        }
    }
}
