// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! The service's settings: from flags on Linux, from system properties on Android.
//!
//! The service reads them once at its start: locking behaviour never changes at run time. Every setting
//! has a range, and the error for a value outside names the setting.

use buffersync_aidl::event::MAX_BUFFERS_PER_GROUP;

use crate::events::MAX_LOCKS_PER_GROUP;

/// All settings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// The binder driver's node.
    pub device: String,
    /// The instance to register: `vendor.buffersync.IBufferSync/<instance>`.
    pub instance: String,
    /// Binder threads that the kernel may start, in addition to two that always run.
    pub threads: u32,
    /// Threads for cache operations.
    pub sync_workers: u32,
    /// Hold limit of a group that asks for none, in milliseconds.
    pub default_hold_ms: u32,
    /// The longest hold limit, and the longest wait for an implicit fence, in milliseconds.
    pub max_hold_ms: u32,
    /// Groups that a uid may have open.
    pub max_groups_per_uid: u32,
    /// Buffers that a group may contain.
    pub max_buffers_per_group: u32,
    /// Locks that a group may have at once.
    pub max_locks_per_group: u32,
    /// (group, buffer) memberships that a uid may have.
    pub max_buffers_per_uid: u32,
    /// Locks that a uid may have waiting.
    pub max_queued_per_uid: u32,
    /// Release fences that a uid may have pending.
    pub max_fences_per_uid: u32,
    /// Buffers that no group has any more, and whose marks the service remembers.
    pub max_remembered: u32,
    /// Descriptors that a handle may carry.
    pub max_fds_per_handle: u32,
    /// How long a client may take to read of a grant that came by an event, while somebody waits for it, in
    /// milliseconds.
    pub read_grant_ms: u32,
    /// Memory that the buffers of all clients may have, in MiB; 0 for all memory of the machine.
    pub max_memory_mib: u32,
    /// Whether the service exports and imports implicit fences: 0 never, 1 if the kernel's version has
    /// the ioctls, 2 always (for a vendor's older kernel that has them).
    pub implicit_fences: u32,
    /// 1: write slices for Perfetto, on Linux. Android switches them on and off by itself.
    pub trace: u32,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            device: "/dev/binder".into(),
            instance: "default".into(),
            // Calls take microseconds and wait for nobody.
            threads: 4,
            // One uid gets all workers but one, so two is the least that keeps uids apart.
            sync_workers: 2,
            // The time-out of the RFC.
            default_hold_ms: 5_000,
            max_hold_ms: 5_000,
            // More than a camera or video pipeline needs. `quota` says how all uids share what there is.
            max_groups_per_uid: 256,
            max_buffers_per_group: 64,
            // A queue of frames, each with a lock of its own, is a few.
            max_locks_per_group: 32,
            max_buffers_per_uid: 4_096,
            max_queued_per_uid: 128,
            max_fences_per_uid: 1_024,
            // Room for the frames of many pipelines, at a few words each.
            max_remembered: 1_024,
            // gralloc handles have a few.
            max_fds_per_handle: 32,
            // Long for a client that runs, and short beside the hold limit.
            read_grant_ms: 1_000,
            max_memory_mib: 0,
            implicit_fences: 1,
            trace: 0,
        }
    }
}

/// A setting that cannot be used.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// No setting has this name.
    #[error("unknown option {0}; see --help")]
    Unknown(String),
    /// The option needs a value and has none.
    #[error("option --{0} needs a value")]
    Missing(String),
    /// The value is out of range, or not a number.
    #[error("--{name} {value}: must be a whole number from {min} to {max}")]
    Range {
        /// The option.
        name: &'static str,
        /// The given value.
        value: String,
        /// The smallest value.
        min: u32,
        /// The greatest value.
        max: u32,
    },
    /// The text is empty or too long.
    #[error("--{name}: must be 1 to 255 characters without spaces")]
    Text {
        /// The option.
        name: &'static str,
    },
}

type Field = fn(&mut Config) -> &mut u32;

/// A numeric setting: flag `--NAME`, property `ro.vendor.buffersync.NAME` with `_` for `-`.
struct Number {
    name: &'static str,
    min: u32,
    max: u32,
    field: Field,
    help: &'static str,
}

/// A minimum of 0 exists only where 0 has a meaning; otherwise it would refuse every call. The maxima are
/// far beyond any device, and stop mistyped values.
const NUMBERS: &[Number] = &[
    Number {
        name: "threads",
        min: 2,
        max: 64,
        field: |c| &mut c.threads,
        help: "binder threads the kernel may start beside the two that always run",
    },
    Number {
        name: "sync-workers",
        min: 1,
        max: 16,
        field: |c| &mut c.sync_workers,
        help: "threads for cache operations",
    },
    Number {
        name: "default-hold-ms",
        min: 1,
        max: 3_600_000,
        field: |c| &mut c.default_hold_ms,
        help: "hold limit of a group that asks for none",
    },
    Number {
        name: "max-hold-ms",
        min: 1,
        max: 3_600_000,
        field: |c| &mut c.max_hold_ms,
        help: "longest hold limit, and longest wait for an implicit fence",
    },
    Number {
        name: "max-groups-per-uid",
        min: 1,
        max: 65_536,
        field: |c| &mut c.max_groups_per_uid,
        help: "groups that a uid may have open",
    },
    Number {
        name: "max-buffers-per-group",
        min: 1,
        max: MAX_BUFFERS_PER_GROUP as u32,
        field: |c| &mut c.max_buffers_per_group,
        help: "buffers that a group may contain",
    },
    Number {
        name: "max-locks-per-group",
        min: 1,
        max: MAX_LOCKS_PER_GROUP as u32,
        field: |c| &mut c.max_locks_per_group,
        help: "locks that a group may have, waiting or granted",
    },
    Number {
        name: "max-buffers-per-uid",
        min: 1,
        max: 1_048_576,
        field: |c| &mut c.max_buffers_per_uid,
        help: "memberships of buffers in groups that a uid may have",
    },
    Number {
        name: "max-queued-per-uid",
        min: 1,
        max: 65_536,
        field: |c| &mut c.max_queued_per_uid,
        help: "locks that a uid may have waiting",
    },
    Number {
        name: "max-fences-per-uid",
        min: 1,
        max: 65_536,
        field: |c| &mut c.max_fences_per_uid,
        help: "release fences that a uid may have pending",
    },
    Number {
        name: "read-grant-ms",
        min: 1,
        max: 3_600_000,
        field: |c| &mut c.read_grant_ms,
        help: "time to read the event of a grant for which others wait, before it is taken away",
    },
    Number {
        name: "max-memory-mib",
        min: 0,
        max: 1_048_576,
        field: |c| &mut c.max_memory_mib,
        help: "memory that all clients' buffers may have; 0: as much as the machine has",
    },
    Number {
        name: "implicit-fences",
        min: 0,
        max: 2,
        field: |c| &mut c.implicit_fences,
        help: "export and import them: 0 never, 1 by kernel version, 2 always",
    },
    Number {
        name: "trace",
        min: 0,
        max: 1,
        field: |c| &mut c.trace,
        help:
            "1: write slices to /sys/kernel/tracing/trace_marker (nothing on Android: atrace hal)",
    },
    Number {
        name: "max-remembered",
        min: 0,
        max: 65_536,
        field: |c| &mut c.max_remembered,
        help: "buffers that no group has any more and that are remembered as evicted or torn",
    },
    Number {
        name: "max-fds-per-handle",
        min: 1,
        max: 128,
        field: |c| &mut c.max_fds_per_handle,
        help: "descriptors that one handle may carry",
    },
];

/// Prefix of the system properties.
pub const PROPERTY_PREFIX: &str = "ro.vendor.buffersync.";

impl Config {
    /// Reads command-line flags, `--name value` or `--name=value`. `None` means `--help`.
    pub fn from_args(args: impl IntoIterator<Item = String>) -> Result<Option<Self>, ConfigError> {
        let mut config = Self::default();
        let mut args = args.into_iter();
        while let Some(arg) = args.next() {
            if arg == "--help" || arg == "-h" {
                return Ok(None);
            }
            let Some(option) = arg.strip_prefix("--") else {
                return Err(ConfigError::Unknown(arg));
            };
            let (name, value) = match option.split_once('=') {
                Some((name, value)) => (name, Some(value.to_string())),
                None => (option, None),
            };
            if !config.knows(name) {
                return Err(ConfigError::Unknown(arg));
            }
            let value = value
                .or_else(|| args.next())
                .ok_or_else(|| ConfigError::Missing(name.to_string()))?;
            config.set(name, &value)?;
        }
        Ok(Some(config.settled()))
    }

    /// Reads properties; `get` returns a property's value, which is `None` or empty if it is not set.
    pub fn from_properties(get: impl Fn(&str) -> Option<String>) -> Result<Self, ConfigError> {
        let mut config = Self::default();
        for name in NUMBERS.iter().map(|number| number.name).chain(["device", "instance"]) {
            let property = format!("{PROPERTY_PREFIX}{}", name.replace('-', "_"));
            if let Some(value) = get(&property).filter(|value| !value.is_empty()) {
                config.set(name, &value)?;
            }
        }
        Ok(config.settled())
    }

    /// The text of `--help`.
    pub fn help() -> String {
        let mut text = String::from(
            "vendor.buffersync-service: arbitrates shared dma-bufs over binder\n\n\
             \x20 --device PATH             binder driver (/dev/binder)\n\
             \x20 --instance NAME           registers vendor.buffersync.IBufferSync/NAME (default)\n",
        );
        let mut defaults = Self::default();
        for number in NUMBERS {
            let default = *(number.field)(&mut defaults);
            text.push_str(&format!(
                "  --{:<24}{} ({}..{}; {default})\n",
                format!("{} N", number.name),
                number.help,
                number.min,
                number.max
            ));
        }
        text.push_str("\nRUST_LOG sets what is logged (error, warn, info, debug).\n");
        text
    }

    fn knows(&self, name: &str) -> bool {
        name == "device" || name == "instance" || NUMBERS.iter().any(|n| n.name == name)
    }

    fn set(&mut self, name: &str, value: &str) -> Result<(), ConfigError> {
        match name {
            "device" => self.device = text("device", value)?,
            "instance" => self.instance = text("instance", value)?,
            _ => {
                let number = NUMBERS
                    .iter()
                    .find(|n| n.name == name)
                    .ok_or_else(|| ConfigError::Unknown(format!("--{name}")))?;
                *(number.field)(self) = number.parse(value)?;
            }
        }
        Ok(())
    }

    /// A maximum below the default hold limit lowers the default as well.
    fn settled(mut self) -> Self {
        self.default_hold_ms = self.default_hold_ms.min(self.max_hold_ms);
        self
    }
}

impl Number {
    fn parse(&self, value: &str) -> Result<u32, ConfigError> {
        value.parse().ok().filter(|number| (self.min..=self.max).contains(number)).ok_or_else(
            || ConfigError::Range {
                name: self.name,
                value: value.to_string(),
                min: self.min,
                max: self.max,
            },
        )
    }
}

fn text(name: &'static str, value: &str) -> Result<String, ConfigError> {
    let fits = (1..=255).contains(&value.len())
        && value.chars().all(|c| !c.is_whitespace() && !c.is_control());
    if fits {
        Ok(value.to_string())
    } else {
        Err(ConfigError::Text { name })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(args: &[&str]) -> Result<Option<Config>, ConfigError> {
        Config::from_args(args.iter().map(|arg| arg.to_string()))
    }

    #[test]
    fn flags_are_read_in_both_spellings() {
        let config = parse(&["--max-hold-ms", "250", "--device=/dev/vndbinder"]).unwrap().unwrap();
        assert_eq!(config.max_hold_ms, 250);
        assert_eq!(config.default_hold_ms, 250);
        assert_eq!(config.device, "/dev/vndbinder");
    }

    #[test]
    fn bad_flags_are_named() {
        assert_eq!(parse(&["--frobnicate", "1"]), Err(ConfigError::Unknown("--frobnicate".into())));
        assert_eq!(parse(&["--threads"]), Err(ConfigError::Missing("threads".into())));
        assert!(matches!(parse(&["--threads", "0"]), Err(ConfigError::Range { .. })));
        assert!(matches!(parse(&["--threads", "x"]), Err(ConfigError::Range { .. })));
        assert!(matches!(parse(&["--instance="]), Err(ConfigError::Text { .. })));
        assert_eq!(parse(&["--help"]), Ok(None));
    }

    #[test]
    fn properties_are_read_by_their_names() {
        let config = Config::from_properties(|name| {
            (name == "ro.vendor.buffersync.max_hold_ms").then(|| "1000".to_string())
        })
        .unwrap();
        assert_eq!(config.max_hold_ms, 1000);
        let bad = Config::from_properties(|name| {
            (name == "ro.vendor.buffersync.threads").then(|| "many".to_string())
        });
        assert!(bad.is_err());
    }

    #[test]
    fn help_names_every_number() {
        let help = Config::help();
        for number in NUMBERS {
            assert!(help.contains(&format!("--{} N", number.name)));
        }
    }
}
