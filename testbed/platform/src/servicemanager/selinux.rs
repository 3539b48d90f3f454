// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! What the loaded policy says of `service_manager`, a class that the kernel itself never asks about
//! (selinuxfs: `access`, `class/`; libselinux: selinux_check_access(3)).

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::Path;

const SELINUXFS: &str = "/sys/fs/selinux";
const CLASS: &str = "service_manager";

/// May `source` do `permission` to `target`? Those are contexts.
pub fn allows(source: &str, target: &str, permission: &str) -> io::Result<bool> {
    let class = Path::new(SELINUXFS).join("class").join(CLASS);
    let number = |path: &Path| -> io::Result<u32> {
        let text = fs::read_to_string(path)?;
        text.trim().parse().map_err(|_| io::Error::from(io::ErrorKind::InvalidData))
    };
    let bit = number(&class.join("perms").join(permission))?;
    let index = number(&class.join("index"))?;
    let mut access = File::options().read(true).write(true).open(format!("{SELINUXFS}/access"))?;
    access.write_all(format!("{source} {target} {index}").as_bytes())?;
    let mut decision = String::new();
    access.read_to_string(&mut decision)?;
    // allowed, decided, auditallow, auditdeny (all in hex), sequence number, flags
    let allowed = decision.split_whitespace().next().unwrap_or_default();
    let allowed = u32::from_str_radix(allowed, 16);
    let allowed = allowed.map_err(|_| io::Error::from(io::ErrorKind::InvalidData))?;
    Ok(allowed & (1 << (bit - 1)) != 0)
}

/// Whether what is denied is to be denied.
pub fn is_enforced() -> bool {
    fs::read_to_string(format!("{SELINUXFS}/enforce")).is_ok_and(|text| text.trim() == "1")
}

/// Logs a denial where the kernel logs its own, in the words of Android's service manager.
pub fn audit(permission: &str, name: &str, uid: u32, pid: i32, source: &str, target: &str) {
    let line = format!(
        "avc:  denied  {{ {permission} }} for pid={pid} uid={uid} name={name} scontext={source} \
         tcontext={target} tclass={CLASS} permissive={}\n",
        u8::from(!is_enforced())
    );
    let logged = File::options().write(true).open("/dev/kmsg");
    let logged = logged.and_then(|mut log| log.write_all(line.as_bytes()));
    if let Err(error) = logged {
        eprintln!("{line}/dev/kmsg: {error}");
    }
}
