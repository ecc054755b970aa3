//! The functions' binaries, built by cargo with the same profile as the sandbox.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use crate::deployment::FUNCTIONS;

static FOLDER: OnceLock<PathBuf> = OnceLock::new();

/// Builds what is not up to date, once per process, and returns the folder of the binaries.
///
/// # Panics
/// If cargo fails.
pub fn functions() -> PathBuf {
    FOLDER.get_or_init(build).clone()
}

/// Runs the binaries in that folder instead, for a benchmark: binaries that are built for a sandbox have the features of the
/// sandbox's dependencies, and deployed binaries do not have them.
///
/// # Panics
/// If a sandbox was started before.
pub fn use_binaries(folder: &Path) {
    FOLDER.set(folder.to_owned()).expect("no sandbox has been started");
}

/// The library that sets the clock of the functions' processes ahead.
pub fn clock() -> PathBuf {
    functions().join("libclock.so")
}

fn build() -> PathBuf {
    let executable = std::env::current_exe().expect("a running program has a path");
    // target/<profile>/sandbox, or target/<profile>/deps/it-<hash>
    let folder = executable.parent().expect("a program lies in a folder");
    let folder =
        if folder.ends_with("deps") { folder.parent().expect("deps lies in the profile's folder") } else { folder };
    let mut cargo = Command::new(std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned()));
    cargo.args([
        "build",
        "--quiet",
        "--locked",
        "--manifest-path",
        concat!(env!("CARGO_MANIFEST_DIR"), "/../../Cargo.toml"),
    ]);
    // Cargo names the folder after the profile, except for `dev`: https://doc.rust-lang.org/cargo/reference/profiles.html
    let profile = folder.file_name().and_then(|name| name.to_str()).expect("the profile's folder has a name");
    cargo.args(["--profile", if profile == "debug" { "dev" } else { profile }]);
    // The sandbox is built too: then the functions have the features that `make run` and `cargo test --workspace` choose, and
    // no dependency is built a second time.
    cargo.args(["--package", "sandbox", "--package", "clock"]);
    for function in FUNCTIONS {
        cargo.args(["--package", function.name]);
    }
    let status = cargo.status().expect("cargo can be started");
    assert!(status.success(), "the functions cannot be built");
    folder.to_owned()
}

/// The project's folder.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().expect("the workspace exists")
}

/// AWS's Runtime Interface Emulator, from the SAM CLI.
///
/// # Panics
/// If `make python` has not installed it.
pub fn emulator() -> PathBuf {
    let packages = root().join("target/python/sam/lib");
    let mut packages = std::fs::read_dir(packages).expect("`make python` installs it");
    let python = packages.next().and_then(Result::ok).expect("a Python").path();
    let architecture = if cfg!(target_arch = "aarch64") { "arm64" } else { "x86_64" };
    python.join(format!("site-packages/samcli/local/rapid/aws-lambda-rie-{architecture}"))
}
