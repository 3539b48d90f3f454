// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! Gets a kernel, its modules, QEMU and busybox, and installs tools that a check or a build needs.
//!
//! Kernel and busybox are downloaded with apt as it is configured, and unpacked into the cache. QEMU and
//! what [`need`] is asked for (compilers, a JDK, ...) are installed if they are absent. Environment variables name
//! other parts for machines without apt. [`aidl()`] gets AOSP's AIDL compiler, [`kotlin()`] the Kotlin compiler.

mod aidl;
mod kotlin;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Mutex, PoisonError};

use crate::{during, path_from_env, progress, Failure};

pub use aidl::{aidl, Compiler, AIDL};
pub use kotlin::{kotlin, Kotlin, KOTLIN};

/// Everything that a virtual machine is made of.
#[derive(Clone, Debug)]
pub struct Parts {
    /// A bzImage.
    pub kernel: PathBuf,
    /// The folder `lib/modules/VERSION` that belongs to it.
    pub modules: PathBuf,
    /// `qemu-system-x86_64`.
    pub qemu: PathBuf,
    /// A statically linked busybox.
    pub busybox: PathBuf,
}

/// Variable that names a kernel.
pub const KERNEL: &str = "BUFFERSYNC_KERNEL";
/// Variable that names the kernel's `lib/modules/VERSION`.
pub const MODULES: &str = "BUFFERSYNC_MODULES";
/// Variable that names QEMU.
pub const QEMU: &str = "BUFFERSYNC_QEMU";
/// Variable that names a static busybox.
pub const BUSYBOX: &str = "BUFFERSYNC_BUSYBOX";

/// Finds or gets all parts. `cache` holds what is unpacked.
pub fn provide(cache: &Path) -> Result<Parts, Failure> {
    let kernel = match (path_from_env(KERNEL), path_from_env(MODULES)) {
        (Some(kernel), Some(modules)) => Some((kernel, modules)),
        (None, None) => cached_kernel(cache),
        _ => return Err(Failure(format!("{KERNEL} and {MODULES} go together: set both or none"))),
    };
    let busybox = path_from_env(BUSYBOX).or_else(|| existing(cache.join("busybox/bin/busybox")));
    let qemu = path_from_env(QEMU).or_else(|| on_path("qemu-system-x86_64"));

    if kernel.is_none() || busybox.is_none() || qemu.is_none() {
        can_use_apt()
            .map_err(|why| advice(&why, kernel.is_none(), busybox.is_none(), qemu.is_none()))?;
        update_lists_if_empty()?;
    }
    let (kernel, modules) = match kernel {
        Some(kernel) => kernel,
        None => get_kernel(cache)?,
    };
    let busybox = match busybox {
        Some(busybox) => busybox,
        None => {
            unpack_package("busybox-static", &cache.join("busybox"))?;
            cache.join("busybox/bin/busybox")
        }
    };
    let qemu = match qemu {
        Some(qemu) => qemu,
        None => install_qemu()?,
    };
    let parts = Parts { kernel, modules, qemu, busybox };
    for part in [&parts.kernel, &parts.modules, &parts.qemu, &parts.busybox] {
        if !part.exists() {
            return Err(Failure(format!("{} does not exist", part.display())));
        }
    }
    Ok(parts)
}

/// One message that says all that is missing and how to provide it.
fn advice(why: &str, kernel: bool, busybox: bool, qemu: bool) -> Failure {
    let mut text = format!("the testbed lacks some parts and can't get them by itself: {why}\n");
    if qemu {
        text.push_str(&format!(
            "  QEMU: install your distribution's qemu-system-x86_64, or set {QEMU} to it\n"
        ));
    }
    if kernel {
        text.push_str(&format!(
            "  a Linux kernel >= 6.12 with CONFIG_UDMABUF and CONFIG_DMABUF_HEAPS_SYSTEM built in,\n  \
             and binder_linux, vgem, 9p and 9pnet_virtio built in or as modules, vivid and cirrus\n  \
             for the demo: set {KERNEL} to its bzImage and {MODULES} to its lib/modules/VERSION (Debian:\n  \
             unpack linux-image-6.12* with dpkg -x)\n"
        ));
    }
    if busybox {
        text.push_str(&format!("  a statically linked busybox: set {BUSYBOX} to it\n"));
    }
    text.push_str("  or run on this machine's own kernel, if it has binder: --native");
    Failure(text)
}

fn can_use_apt() -> Result<(), String> {
    for tool in ["apt-get", "apt-cache", "dpkg"] {
        if on_path(tool).is_none() {
            return Err(format!("there is no {tool} here"));
        }
    }
    match Command::new("id").arg("-u").output() {
        Ok(output) if output.stdout == b"0\n" => Ok(()),
        _ => Err("that needs root".into()),
    }
}

fn update_lists_if_empty() -> Result<(), Failure> {
    if !search("^busybox-static$")?.is_empty() {
        return Ok(());
    }
    progress("updating apt's package lists");
    call(Command::new("apt-get").args(["-qq", "update"]))
}

fn search(pattern: &str) -> Result<Vec<String>, Failure> {
    let output = during(
        "apt-cache search",
        Command::new("apt-cache").args(["search", "--names-only", pattern]).output(),
    )?;
    let text = String::from_utf8_lossy(&output.stdout);
    Ok(text.lines().filter_map(|line| line.split(' ').next()).map(str::to_string).collect())
}

fn get_kernel(cache: &Path) -> Result<(PathBuf, PathBuf), Failure> {
    let mut package = newest(search(r"^linux-image-6\.(1[2-9]|[2-9][0-9])\..*-amd64$")?);
    if package.is_none() {
        progress("updating apt's package lists");
        call(Command::new("apt-get").args(["-qq", "update"]))?;
        package = newest(search(r"^linux-image-6\.(1[2-9]|[2-9][0-9])\..*-amd64$")?);
    }
    let package = package.ok_or_else(|| advice("apt has no kernel >= 6.12", true, false, false))?;
    unpack_package(&package, &cache.join("kernel"))?;
    cached_kernel(cache).ok_or_else(|| Failure(format!("{package} holds no kernel with modules")))
}

/// The highest version among kernel packages; special builds (cloud, rt, unsigned, debug) are left
/// out, since they lack drivers that the guest needs.
pub fn newest(packages: Vec<String>) -> Option<String> {
    let special = ["cloud", "rt", "unsigned", "dbg"];
    let numbers = |package: &str| -> Vec<u64> {
        package.split(|c: char| !c.is_ascii_digit()).filter_map(|n| n.parse().ok()).collect()
    };
    packages
        .into_iter()
        .filter(|package| !package.split(['-', '+']).any(|word| special.contains(&word)))
        .max_by_key(|package| numbers(package))
}

fn cached_kernel(cache: &Path) -> Option<(PathBuf, PathBuf)> {
    let root = cache.join("kernel");
    let modules = only_entry(&root.join("lib/modules"))
        .or_else(|| only_entry(&root.join("usr/lib/modules")))?;
    let version = modules.file_name()?.to_str()?.to_string();
    let kernel = existing(root.join(format!("boot/vmlinuz-{version}")))?;
    Some((kernel, modules))
}

fn install_qemu() -> Result<PathBuf, Failure> {
    install("qemu-system-x86_64", "qemu-system-x86")?;
    on_path("qemu-system-x86_64").ok_or_else(|| Failure("apt-get installed no QEMU".into()))
}

fn install(program: &str, package: &str) -> Result<(), Failure> {
    progress(format_args!("installing {package} with apt-get, for {program}"));
    let install = ["-qq", "install", "-y", "--no-install-recommends", package];
    call(Command::new("apt-get").env("DEBIAN_FRONTEND", "noninteractive").args(install))
}

/// Installs the Debian package of each program that is absent.
pub fn need(programs: &[(&str, &str)]) -> Result<(), Failure> {
    // apt-get serves one caller at a time, and tests run in several threads.
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    let _turn = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    for (program, package) in programs {
        if on_path(program).is_some() {
            continue;
        }
        let advice = |why| {
            Failure(format!("there is no {program}, and it can't be installed: {why} ({package})"))
        };
        can_use_apt().map_err(advice)?;
        update_lists_if_empty()?;
        install(program, package)?;
    }
    Ok(())
}

/// Downloads a package and unpacks it to `target`, whole or not at all.
fn unpack_package(package: &str, target: &Path) -> Result<(), Failure> {
    let parent = target.parent().unwrap_or(Path::new("."));
    let work = parent.join(format!(".unpacking-{}-{}", package, std::process::id()));
    let _ = fs::remove_dir_all(&work);
    during("making the cache", fs::create_dir_all(work.join("root")))?;
    progress(format_args!("downloading {package}"));
    // apt's own sandbox user may not enter the folder; root can.
    let get = ["-qq", "-o", "APT::Sandbox::User=root", "download", package];
    call(Command::new("apt-get").current_dir(&work).args(get))?;
    let deb = during("reading the cache", fs::read_dir(&work))?
        .flatten()
        .map(|entry| entry.path())
        .find(|path| path.extension().is_some_and(|extension| extension == "deb"))
        .ok_or_else(|| Failure(format!("apt-get downloaded no {package}")))?;
    progress(format_args!("unpacking {package}"));
    call(Command::new("dpkg").arg("-x").arg(&deb).arg(work.join("root")))?;
    let _ = fs::remove_dir_all(target);
    during("filling the cache", fs::rename(work.join("root"), target))?;
    let _ = fs::remove_dir_all(&work);
    Ok(())
}

fn call(command: &mut Command) -> Result<(), Failure> {
    let name = command.get_program().to_string_lossy().into_owned();
    let output = during(&name, command.stdin(Stdio::null()).output())?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(Failure(format!("{name} failed ({}): {}", output.status, said.trim())))
}

fn existing(path: PathBuf) -> Option<PathBuf> {
    path.exists().then_some(path)
}

fn only_entry(folder: &Path) -> Option<PathBuf> {
    fs::read_dir(folder).ok()?.flatten().map(|entry| entry.path()).next()
}

/// Where a program is.
pub fn on_path(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|folder| folder.join(program)).find(|file| file.is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pick(packages: &[&str]) -> Option<String> {
        newest(packages.iter().map(|package| package.to_string()).collect())
    }

    #[test]
    fn the_newest_kernel_is_chosen_by_number() {
        let packages = [
            "linux-image-6.12.9+deb12-amd64",
            "linux-image-6.12.117+deb12-amd64",
            "linux-image-6.12.73+deb12-amd64",
        ];
        assert_eq!(pick(&packages).unwrap(), "linux-image-6.12.117+deb12-amd64");
    }

    #[test]
    fn special_kernels_are_left_out() {
        let packages =
            ["linux-image-6.12.200+deb12-cloud-amd64", "linux-image-6.12.200+deb12-rt-amd64"];
        assert_eq!(pick(&packages), None);
    }

    #[test]
    fn advice_names_each_missing_part_and_how_to_provide_it() {
        let text = advice("that needs root", true, true, true).0;
        for needed in [KERNEL, MODULES, QEMU, BUSYBOX, "--native", "that needs root"] {
            assert!(text.contains(needed), "{needed}");
        }
        assert!(!advice("x", false, false, true).0.contains(KERNEL));
    }
}
