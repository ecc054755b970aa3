//! Looks for a browser on the PATH: without one, the tests of the console page are ignored instead of passing.

use std::path::PathBuf;

/// Chromium as Linux distributions name it, and Chrome.
const NAMES: [&str; 3] = ["chromium", "chromium-browser", "google-chrome"];

fn main() {
    println!("cargo::rustc-check-cfg=cfg(has_chromium)");
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-env-changed=PATH");
    let folders: Vec<PathBuf> = std::env::var_os("PATH").iter().flat_map(std::env::split_paths).collect();
    let mut programs = NAMES.into_iter().flat_map(|name| folders.iter().map(move |folder| folder.join(name)));
    let found = programs.find(|program| program.is_file());
    match found {
        Some(program) => {
            println!("cargo::rustc-cfg=has_chromium");
            println!("cargo::rustc-env=CHROMIUM={}", program.display());
            println!("cargo::rerun-if-changed={}", program.display());
        }
        // One that is installed later changes one of these folders.
        None => {
            println!("cargo::rustc-env=CHROMIUM=");
            for folder in folders.iter().filter(|folder| folder.is_dir()) {
                println!("cargo::rerun-if-changed={}", folder.display());
            }
        }
    }
}
