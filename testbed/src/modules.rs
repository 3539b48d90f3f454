// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! Kernel modules: where they are, what they need, in which order they are loaded.
//!
//! Debian's packages carry no `modules.dep` (its installation makes it), so the order comes from the
//! modules themselves: each names what it depends on in its `.modinfo` section.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::{during, Failure};

/// A module, uncompressed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Module {
    /// With underscores, as the kernel shows it.
    pub name: String,
    /// The ELF object.
    pub object: Vec<u8>,
}

/// The wanted modules and all that they depend on, in loading order. A wanted module that is not in
/// the folder is taken to be built in. `busybox` unpacks compressed ones.
pub fn collect(folder: &Path, wanted: &[&str], busybox: &Path) -> Result<Vec<Module>, Failure> {
    let mut files = BTreeMap::new();
    during("reading the modules", walk(folder, &mut files))?;
    let mut loaded = Vec::new();
    let mut seen = BTreeSet::new();
    for name in wanted {
        add(name, &files, busybox, &mut seen, &mut loaded)?;
    }
    Ok(loaded)
}

fn add(
    name: &str,
    files: &BTreeMap<String, PathBuf>,
    busybox: &Path,
    seen: &mut BTreeSet<String>,
    loaded: &mut Vec<Module>,
) -> Result<(), Failure> {
    let Some(file) = files.get(name) else { return Ok(()) };
    if !seen.insert(name.to_string()) {
        return Ok(());
    }
    let object = read(file, busybox)?;
    for needed in depends(&object) {
        add(&needed, files, busybox, seen, loaded)?;
    }
    loaded.push(Module { name: name.to_string(), object });
    Ok(())
}

fn walk(folder: &Path, files: &mut BTreeMap<String, PathBuf>) -> std::io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default().to_string();
        // `build` and `source` point out of the folder.
        if path.is_dir() && !path.is_symlink() {
            walk(&path, files)?;
        } else if let Some((stem, ending)) = name.split_once(".ko") {
            if matches!(ending, "" | ".xz" | ".gz" | ".zst") {
                files.insert(stem.replace('-', "_"), path);
            }
        }
    }
    Ok(())
}

fn read(file: &Path, busybox: &Path) -> Result<Vec<u8>, Failure> {
    let applet = match file.extension().and_then(|extension| extension.to_str()) {
        Some("xz") => "unxz",
        Some("gz") => "gunzip",
        Some("zst") => {
            let file = file.display();
            return Err(Failure(format!("{file}: unpack it (unzstd): busybox can't")));
        }
        _ => return during(file.display(), fs::read(file)),
    };
    let output = during(applet, Command::new(busybox).arg(applet).arg("-c").arg(file).output())?;
    if output.status.success() {
        Ok(output.stdout)
    } else {
        Err(Failure(format!("can't unpack {}", file.display())))
    }
}

/// The names in the module's `depends=` entry.
fn depends(object: &[u8]) -> Vec<String> {
    const KEY: &[u8] = b"\0depends=";
    let Some(at) = object.windows(KEY.len()).position(|window| window == KEY) else {
        return Vec::new();
    };
    let value: Vec<u8> =
        object[at + KEY.len()..].iter().copied().take_while(|byte| *byte != 0).collect();
    let value = String::from_utf8_lossy(&value).replace('-', "_");
    value.split(',').filter(|name| !name.is_empty()).map(str::to_string).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dependencies_are_read_from_modinfo() {
        let object = b"\x7fELF..\0license=GPL\0depends=drm,drm-shmem-helper\0name=vgem\0";
        assert_eq!(depends(object), ["drm", "drm_shmem_helper"]);
        assert!(depends(b"\0depends=\0name=x\0").is_empty());
    }

    #[test]
    fn what_a_module_needs_is_loaded_before_it_and_once() {
        let folder =
            std::env::temp_dir().join(format!("buffersync-modules-{}", std::process::id()));
        fs::create_dir_all(folder.join("drivers")).unwrap();
        let make = |name: &str, needs: &str| {
            let content = format!("\0depends={needs}\0");
            fs::write(folder.join(format!("drivers/{name}.ko")), content).unwrap();
        };
        make("top-one", "middle,base");
        make("middle", "base");
        make("base", "");
        let modules = collect(&folder, &["top_one", "middle", "builtin"], Path::new("x")).unwrap();
        fs::remove_dir_all(&folder).unwrap();
        let names: Vec<_> = modules.iter().map(|module| module.name.as_str()).collect();
        assert_eq!(names, ["base", "middle", "top_one"]);
    }
}
