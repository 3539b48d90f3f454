// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! The files that a device reads, held against each other and against the interface.
//!
//! A name that differs in one of them shows on a device only, as a service that is not found. So: what the
//! manifest declares is what the AIDL is, what init starts, what the service manager labels and what
//! the framework's matrix knows (VTS: `DeviceManifestTest.UnusedHals`, `SingleManifestTest`); what
//! `file_contexts` labels is what init starts; what a `_contexts` file names, the policy declares; and where
//! there is systemd instead of init, it confines as much.

use std::collections::BTreeSet;
use std::fs;

use buffersync_testbed::checkout::root;
use buffersync_testbed::command::{files, made};
use buffersync_testbed::Failure;
use roxmltree::{Document, Node};

/// The error says what is wrong.
type Result<T> = std::result::Result<T, String>;

/// Keywords of init's service sections that this service may use (system/core/init/README.md). Not among
/// them: `oneshot` and `disabled`, since it is not lazy; `seclabel`, since the policy has its transition.
const KEYWORDS: [&str; 10] = [
    "capabilities",
    "class",
    "group",
    "interface",
    "ioprio",
    "priority",
    "rlimit",
    "shutdown",
    "task_profiles",
    "user",
];

/// The files' texts.
#[derive(Clone)]
pub struct Files {
    manifest: String,
    matrix: String,
    rc: String,
    /// Users of the vendor partition.
    users: String,
    service_contexts: String,
    file_contexts: String,
    property_contexts: String,
    policy: String,
    public_libraries: String,
    /// The systemd unit, for Linux.
    unit: String,
    /// The rules of rsb_hub, for Linux.
    rules: String,
    /// The service's settings, with their names as properties.
    config: String,
    aidl: String,
    aidl_build: String,
}

/// An instance that the manifest declares: `PACKAGE.INTERFACE/INSTANCE`.
struct Declared {
    package: String,
    interface: String,
    instance: String,
    version: u32,
}

impl Declared {
    fn name(&self) -> String {
        format!("{}.{}/{}", self.package, self.interface, self.instance)
    }
}

impl Files {
    /// The project's.
    pub fn of_project() -> std::result::Result<Self, Failure> {
        let read = |path: &str| made(fs::read_to_string(root().join(path)), path);
        let mut policy = read("sepolicy/attributes")?;
        for path in files(&root().join("sepolicy"), "te")? {
            policy.push_str(&made(fs::read_to_string(&path), "sepolicy")?);
        }
        Ok(Self {
            manifest: read("init/vendor.buffersync-service.xml")?,
            matrix: read("init/device_framework_compatibility_matrix.xml")?,
            rc: read("init/vendor.buffersync-service.rc")?,
            users: read("init/config.fs")?,
            service_contexts: read("sepolicy/service_contexts")?,
            file_contexts: read("sepolicy/file_contexts")?,
            property_contexts: read("sepolicy/property_contexts")?,
            policy,
            public_libraries: read("client-ndk/public.libraries.txt")?,
            unit: read("init/linux/vendor.buffersync.service")?,
            rules: read("init/linux/10-buffersync.toml")?,
            config: read("service/src/config.rs")?,
            aidl: read("aidl/vendor/buffersync/IBufferSync.aidl")?,
            aidl_build: read("aidl/build.rs")?,
        })
    }

    /// Fails if two of them disagree.
    pub fn check(&self) -> Result<()> {
        let declared = self.declared()?;
        self.check_interface(&declared)?;
        self.check_matrix(&declared)?;
        let program = self.check_init(&declared)?;
        self.check_contexts(&declared, &program)?;
        self.check_linux(&declared)?;
        self.check_libraries()
    }

    fn declared(&self) -> Result<Declared> {
        let document = Document::parse(&self.manifest).map_err(|error| error.to_string())?;
        let manifest = document.root_element();
        expect("the manifest", attributes(manifest), &[("type", "device"), ("version", "1.0")])?;
        let hal = only(manifest, "hal")?;
        // AIDL HALs have no transport, and one version, a number.
        expect("the manifest's hal", attributes(hal), &[("format", "aidl")])?;
        let name = text(only(hal, "fqname")?);
        let (interface, instance) = name.split_once('/').ok_or("fqname is INTERFACE/INSTANCE")?;
        let version = text(only(hal, "version")?);
        Ok(Declared {
            package: text(only(hal, "name")?).to_string(),
            interface: interface.to_string(),
            instance: instance.to_string(),
            version: version.parse().map_err(|_| format!("{version:?} is no version"))?,
        })
    }

    fn check_interface(&self, declared: &Declared) -> Result<()> {
        let Declared { package, interface, version, .. } = declared;
        let needed = [
            (&self.aidl, format!("package {package};")),
            (&self.aidl, format!("@VintfStability\ninterface {interface} {{")),
            (&self.aidl_build, format!("const VERSION: i32 = {version};")),
        ];
        match needed.iter().find(|(file, what)| !file.contains(what)) {
            None => Ok(()),
            Some((_, what)) => Err(format!("the manifest declares what is not: {what:?}")),
        }
    }

    fn check_matrix(&self, declared: &Declared) -> Result<()> {
        let document = Document::parse(&self.matrix).map_err(|error| error.to_string())?;
        let matrix = document.root_element();
        expect("the matrix", attributes(matrix), &[("type", "framework"), ("version", "1.0")])?;
        let hal = only(matrix, "hal")?;
        expect("the matrix's hal", attributes(hal), &[("format", "aidl")])?;
        let interface = only(hal, "interface")?;
        let version = text(only(hal, "version")?);
        let (lowest, highest) = version.split_once('-').unwrap_or((version, version));
        let bounds = (lowest.parse::<u32>(), highest.parse::<u32>());
        let covers =
            matches!(bounds, (Ok(low), Ok(high)) if (low..=high).contains(&declared.version));
        let known = text(only(hal, "name")?) == declared.package
            && text(only(interface, "name")?) == declared.interface
            && text(only(interface, "instance")?) == declared.instance;
        if covers && known {
            Ok(())
        } else {
            Err(format!("the matrix does not know {}", declared.name()))
        }
    }

    /// Returns the program.
    fn check_init(&self, declared: &Declared) -> Result<String> {
        let lines = self.rc.lines().map(str::trim);
        let lines = lines.filter(|line| !line.is_empty() && !line.starts_with('#'));
        let mut program = String::new();
        let mut said: Vec<Vec<&str>> = Vec::new();
        for line in lines {
            let words: Vec<&str> = line.split_whitespace().collect();
            match words[..] {
                ["service", _, path] if program.is_empty() => program = path.to_string(),
                [keyword, ..] if KEYWORDS.contains(&keyword) => said.push(words),
                _ => return Err(format!("init does not know, or should not be told: {line}")),
            }
        }
        let of = |keyword: &str| said.iter().find(|words| words[0] == keyword);
        let argument = |keyword: &str| of(keyword).map(|words| words[1..].join(" "));
        let name = format!("aidl {}", declared.name());
        if argument("interface").as_deref() != Some(&name) {
            return Err(format!("init is not told `interface {name}`"));
        }
        if argument("class").as_deref() != Some("hal") {
            return Err("the service is not of class hal".into());
        }
        // `capabilities` without a name takes all capabilities away.
        if argument("capabilities").as_deref() != Some("") {
            return Err("the service needs no capability".into());
        }
        let user = argument("user").unwrap_or_default();
        if user.is_empty() || ["root", "system"].contains(&user.as_str()) {
            return Err("the service has a user of its own".into());
        }
        self.check_user(&user)?;
        if argument("group").as_ref() != Some(&user) {
            return Err("the service has the group of its user, and no other".into());
        }
        if !program.starts_with("/vendor/bin/hw/") {
            return Err(format!("a vendor's HAL is in /vendor/bin/hw, not {program:?}"));
        }
        Ok(program)
    }

    /// Fails if the user of the rc file does not exist, or has a number outside the vendors' range.
    fn check_user(&self, user: &str) -> Result<()> {
        let lines = self.users.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
        let aid = format!("[AID_{}]", user.to_ascii_uppercase());
        match lines.collect::<Vec<_>>()[..] {
            [name, value] if name == aid && user.starts_with("vendor_") => {
                let number = value.strip_prefix("value: ").and_then(|value| value.parse().ok());
                if number.is_some_and(|n| matches!(n, 2900..=2999 | 5000..=5999)) {
                    return Ok(());
                }
                Err(format!("vendors have no {value}"))
            }
            _ => Err(format!("config.fs is not of {aid} alone")),
        }
    }

    fn check_contexts(&self, declared: &Declared, program: &str) -> Result<()> {
        let service = labels(&self.service_contexts)?;
        if !matches!(&service[..], [(name, _)] if *name == declared.name()) {
            return Err(format!("service_contexts is not of {}", declared.name()));
        }
        let file = labels(&self.file_contexts)?;
        let expected = program.replace("/vendor/", "/(vendor|system/vendor)/").replace('.', "\\.");
        if !matches!(&file[..], [(path, _)] if *path == expected) {
            return Err(format!("file_contexts is not of {expected}"));
        }
        let property = labels(&self.property_contexts)?;
        let prefix = property.first().map(|(name, _)| *name).unwrap_or_default();
        if !self.config.contains(&format!("PROPERTY_PREFIX: &str = \"{prefix}\"")) {
            return Err(format!("the service's settings do not begin with {prefix:?}"));
        }
        for (name, label) in service.into_iter().chain(file).chain(property) {
            let declared = ["type ", "vendor_restricted_prop("].iter().any(|how| {
                let mut said = self.policy.lines().filter(|line| !line.starts_with('#'));
                said.any(|line| line.strip_prefix(how).is_some_and(|rest| begins(rest, label)))
            });
            if !declared {
                return Err(format!("{name} is labelled {label}, which no policy declares"));
            }
        }
        Ok(())
    }

    /// systemd's unit confines as init's section does, and the rules are about the same instance.
    fn check_linux(&self, declared: &Declared) -> Result<()> {
        let limit = self.rc.lines().find_map(|line| line.trim().strip_prefix("rlimit nofile "));
        let limit = limit.and_then(|limits| limits.split(' ').next()).unwrap_or_default();
        let needed = [
            format!("\nLimitNOFILE={limit}\n"),
            "\nCapabilityBoundingSet=\n".into(),
            "\nAmbientCapabilities=\n".into(),
            "\nSupplementaryGroups=\n".into(),
            "\nNoNewPrivileges=yes\n".into(),
            "\nDeviceAllow=/dev/binder rw\n".into(),
            "\nRestrictAddressFamilies=none\n".into(),
        ];
        if let Some(missing) = needed.iter().find(|line| !self.unit.contains(*line)) {
            return Err(format!("the unit does not say {:?}", missing.trim()));
        }
        let name = format!("name = \"{}\"", declared.name());
        if self.rules.matches(&name).count() != 2 || self.rules.contains('*') {
            return Err(format!("the rules are not of {} alone", declared.name()));
        }
        Ok(())
    }

    fn check_libraries(&self) -> Result<()> {
        let listed: BTreeSet<&str> = self.public_libraries.lines().collect();
        if listed == BTreeSet::from(["libbuffersync.so", "libbuffersync_jni.so"]) {
            Ok(())
        } else {
            Err(format!("public.libraries.txt lists {listed:?}"))
        }
    }
}

/// True if a statement begins with this name, and not with a longer one.
fn begins(statement: &str, name: &str) -> bool {
    statement.strip_prefix(name).is_some_and(|rest| rest.starts_with([',', ';', ')']))
}

/// Name and type of each line of a `_contexts` file.
fn labels(contexts: &str) -> Result<Vec<(&str, &str)>> {
    let lines = contexts.lines().filter(|line| !line.trim().is_empty() && !line.starts_with('#'));
    let label = |line: &'_ str| -> Option<(usize, usize)> {
        let at = line.find("u:object_r:")?;
        Some((at, at + line[at..].find(":s0")?))
    };
    lines
        .map(|line| {
            let (from, to) = label(line).ok_or_else(|| format!("no label: {line}"))?;
            let name = line[..from].trim();
            Ok((name, &line[from + "u:object_r:".len()..to]))
        })
        .collect()
}

fn attributes<'a>(node: Node<'a, '_>) -> Vec<(&'a str, &'a str)> {
    let mut found: Vec<_> = node.attributes().map(|a| (a.name(), a.value())).collect();
    found.sort_unstable();
    found
}

fn expect(what: &str, found: Vec<(&str, &str)>, expected: &[(&str, &str)]) -> Result<()> {
    if found == expected {
        Ok(())
    } else {
        Err(format!("{what} has {found:?}, not {expected:?}"))
    }
}

/// The child of that name, of which there is one.
fn only<'a, 'i>(node: Node<'a, 'i>, name: &str) -> Result<Node<'a, 'i>> {
    let mut children = node.children().filter(|child| child.has_tag_name(name));
    match (children.next(), children.next()) {
        (Some(child), None) => Ok(child),
        _ => Err(format!("{} has not one {name}", node.tag_name().name())),
    }
}

fn text<'a>(node: Node<'a, '_>) -> &'a str {
    node.text().unwrap_or_default().trim()
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn the_projects_files_agree() {
        Files::of_project().unwrap().check().unwrap();
    }

    /// The threshold is in tenths of systemd's scale of 10. The unit gives the reason for each thing that systemd
    /// finds exposed.
    #[test]
    fn systemd_finds_the_unit_hardly_exposed() {
        let unit = root().join("init/linux/vendor.buffersync.service");
        let mut systemd = Command::new("systemd-analyze");
        systemd.args(["security", "--offline=true", "--no-pager", "--threshold=12"]);
        match systemd.arg(unit).output() {
            Ok(output) => assert!(output.status.success(), "{output:?}"),
            Err(_) => println!("skipped: there is no systemd-analyze here"),
        }
    }

    /// Each of these would be found out on a device, by a service that is not there.
    #[test]
    fn what_differs_in_one_file_is_noticed() {
        type Of = fn(&mut Files) -> &mut String;
        let changes: [(Of, &str, &str); 35] = [
            (|f| &mut f.manifest, "<name>vendor.buffersync<", "<name>vendor.buffersink<"),
            (|f| &mut f.manifest, "IBufferSync/default", "IBufferSync/other"),
            (|f| &mut f.manifest, "IBufferSync/default", "IBufferSink/default"),
            (|f| &mut f.manifest, "IBufferSync/default", "@1.0::IBufferSync/default"),
            (|f| &mut f.manifest, "<version>1<", "<version>2<"),
            (|f| &mut f.manifest, "<version>1<", "<version>1.0<"),
            (|f| &mut f.manifest, "format=\"aidl\"", "format=\"hidl\""),
            (|f| &mut f.manifest, "type=\"device\"", "type=\"framework\""),
            (|f| &mut f.manifest, "</hal>", "</hal><hal format=\"aidl\"/>"),
            (|f| &mut f.manifest, "</manifest>", ""),
            (|f| &mut f.matrix, "vendor.buffersync", "vendor.buffersink"),
            (|f| &mut f.matrix, "<version>1<", "<version>2-3<"),
            (|f| &mut f.matrix, "format=\"aidl\"", "format=\"hidl\""),
            (|f| &mut f.matrix, "<instance>default", "<instance>other"),
            (|f| &mut f.matrix, "<name>IBufferSync", "<name>IBufferSink"),
            (|f| &mut f.rc, "IBufferSync/default", "IBufferSync/other"),
            (|f| &mut f.rc, "/vendor/bin/hw/", "/system/bin/hw/"),
            (|f| &mut f.rc, "vendor.buffersync-service\n", "vendor.buffersink-service\n"),
            (|f| &mut f.rc, "    capabilities\n", "    capabilities SYS_NICE\n"),
            (|f| &mut f.rc, "    user vendor_buffersync", "    user root"),
            (|f| &mut f.rc, "    group vendor_buffersync", "    group vendor_buffersync inet"),
            (|f| &mut f.rc, "    class hal", "    class hal\n    oneshot"),
            (|f| &mut f.rc, "    class hal", "    class main"),
            (|f| &mut f.users, "AID_VENDOR_BUFFERSYNC", "AID_BUFFERSYNC"),
            (|f| &mut f.users, "value: 2975", "value: 3975"),
            (|f| &mut f.service_contexts, "IBufferSync/default", "IBufferSync/other"),
            (|f| &mut f.service_contexts, "hal_buffersync_service", "hal_buffersink_service"),
            (|f| &mut f.file_contexts, "buffersync-service", "buffersync_service"),
            (|f| &mut f.property_contexts, "ro.vendor", "persist.vendor"),
            (|f| &mut f.policy, "type hal_buffersync_default_exec", "type hal_buffersync_exec"),
            (|f| &mut f.public_libraries, "_jni", "_java"),
            (|f| &mut f.unit, "LimitNOFILE=32768", "LimitNOFILE=1024"),
            (|f| &mut f.unit, "CapabilityBoundingSet=", "CapabilityBoundingSet=CAP_SYS_NICE"),
            (|f| &mut f.rules, "IBufferSync/default", "IBufferSync/other"),
            (|f| &mut f.rules, "find = { uid = [0, 990, 1000] }", "find = { uid = \"*\" }"),
        ];
        let right = Files::of_project().unwrap();
        for (of, from, to) in changes {
            let mut wrong = right.clone();
            let text = of(&mut wrong);
            assert!(text.contains(from), "{from:?} is not there to be changed");
            *text = text.replacen(from, to, 1);
            assert!(wrong.check().is_err(), "{from:?} -> {to:?} was not noticed");
        }
    }
}
