// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! The display of a guest: a cirrus card of QEMU, and pictures of what it shows.
//!
//! [`crate::vm`] takes one when the guest's command asks for it. QEMU paints the picture from the card's memory, so
//! it has what a monitor would show. QEMU is asked over its monitor protocol (QMP), on a Unix socket.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde_json::{json, Value};

use crate::{during, Failure};

/// The longest wait for an answer of QEMU.
const PATIENCE: Duration = Duration::from_secs(30);

/// The display of one boot.
pub struct Screen {
    /// The monitor's socket. It is in the system's folder for temporary files, because the path of a socket may have
    /// 107 bytes only.
    socket: PathBuf,
}

impl Screen {
    /// The display of a boot that has this name.
    pub fn of_boot(boot: &str) -> Self {
        Self { socket: std::env::temp_dir().join(format!("buffersync-{boot}.qmp")) }
    }

    /// Gives QEMU the card and the monitor.
    pub fn connect(&self, qemu: &mut Command) {
        let _ = fs::remove_file(&self.socket);
        let monitor = format!("unix:{},server=on,wait=off", self.socket.display());
        qemu.args(["-vga", "cirrus", "-qmp", &monitor]);
    }

    /// Writes what the display shows as a PPM. The file appears when it is whole; until then it is `part`, where the
    /// guest can have put no link.
    pub fn shoot(&self, part: &Path, picture: &Path) -> Result<(), Failure> {
        during("a screenshot", self.ask(part))?;
        during(picture.display(), fs::rename(part, picture))
    }

    fn ask(&self, file: &Path) -> Result<(), Failure> {
        let io = |error: std::io::Error| Failure(format!("QEMU's monitor: {error}"));
        let mut socket = UnixStream::connect(&self.socket).map_err(io)?;
        socket.set_read_timeout(Some(PATIENCE)).map_err(io)?;
        let mut answers = BufReader::new(socket.try_clone().map_err(io)?).lines();
        let shoot = json!({"execute": "screendump", "arguments": {"filename": file}});
        for command in [json!({"execute": "qmp_capabilities"}), shoot] {
            writeln!(socket, "{command}").map_err(io)?;
            answer(&mut answers).map_err(Failure)?;
        }
        Ok(())
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.socket);
    }
}

/// Reads up to the answer of a command. A greeting and events can come before it.
fn answer(lines: &mut impl Iterator<Item = std::io::Result<String>>) -> Result<(), String> {
    for line in lines {
        let line = line.map_err(|error| error.to_string())?;
        let said: Value = serde_json::from_str(&line).map_err(|error| error.to_string())?;
        if said.get("return").is_some() {
            return Ok(());
        }
        if let Some(error) = said.get("error") {
            return Err(error["desc"].as_str().unwrap_or(&line).to_string());
        }
    }
    Err("QEMU has closed its monitor".to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_found_behind_a_greeting_and_events() {
        let lines = |text: &'static str| text.lines().map(|line| Ok(line.to_string()));
        let good = "{\"QMP\": {}}\n{\"event\": \"RESUME\"}\n{\"return\": {}}";
        assert_eq!(answer(&mut lines(good)), Ok(()));
        let bad = "{\"error\": {\"class\": \"GenericError\", \"desc\": \"no display\"}}";
        assert_eq!(answer(&mut lines(bad)), Err("no display".into()));
        assert!(answer(&mut lines("{\"event\": \"STOP\"}")).is_err());
    }
}
