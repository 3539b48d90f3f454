// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! Brings up what clients need: the service manager, which denies everything that its rules do not
//! allow, and the service.

use std::fs::{self, File};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{kill, Signal};
use nix::unistd::Pid;

use crate::user::User;

/// What the service registers as.
pub const INSTANCE: &str = "vendor.buffersync.IBufferSync/default";

/// The service's program.
const SERVICE: &str = "vendor.buffersync-service";

/// How long a process may take to come up, or to go. An emulated machine is slow.
const PATIENCE: Duration = Duration::from_secs(60);
const STEP: Duration = Duration::from_millis(20);
/// Bytes of a log shown with an error.
const LOG_END: usize = 4000;

/// Arguments of a service that takes nothing away for ten minutes, unless a client asks for less: for tests that
/// are about something else, on machines that may be slow.
pub fn patient() -> Vec<String> {
    ["--default-hold-ms", "600000", "--max-hold-ms", "600000", "--read-grant-ms", "600000"]
        .map(String::from)
        .into()
}

/// The stack could not be brought up.
#[derive(Debug, thiserror::Error)]
pub enum StackError {
    /// The system refused something.
    #[error("{what}: {source}")]
    Io {
        /// What was tried.
        what: String,
        /// The system's answer.
        source: io::Error,
    },
    /// A process ended, or was not ready in time.
    #[error("{name} {why}; its log ends:\n{log}")]
    NotReady {
        /// Which process.
        name: &'static str,
        /// Why.
        why: String,
        /// The end of what it logged.
        log: String,
    },
}

/// The running processes. Dropping it ends them.
#[derive(Debug)]
pub struct Stack {
    bin: PathBuf,
    program: PathBuf,
    logs: PathBuf,
    // In this order: the service goes before the service manager.
    service: Process,
    hub: Option<Process>,
}

/// Where the service's standard error goes.
#[derive(Debug)]
enum Stderr {
    /// To a file in the folder of logs.
    Log,
    /// To this descriptor, such as a pipe that nobody reads.
    To(OwnedFd),
}

impl Stack {
    /// Starts the service manager and the service, the latter with `service_args`, and waits until
    /// the service can be found. Needs root. The programs are taken from the folder `bin`, logs are
    /// written to `logs`.
    pub fn start(bin: &Path, logs: &Path, service_args: &[String]) -> Result<Self, StackError> {
        Self::start_with(bin, &bin.join(SERVICE), logs, service_args)
    }

    /// As [`Stack::start`], with another program for the service.
    pub fn start_with(
        bin: &Path,
        program: &Path,
        logs: &Path,
        service_args: &[String],
    ) -> Result<Self, StackError> {
        prepare(logs)?;
        let hub = start_hub(bin, logs)?;
        let mut service = start_service(program, logs, service_args, Stderr::Log)?;
        wait_for(&mut service, bin)?;
        let [bin, program, logs] = [bin, program, logs].map(Path::to_path_buf);
        Ok(Self { bin, program, logs, service, hub: Some(hub) })
    }

    /// As [`Stack::start`], but the service logs to `stderr`.
    pub fn start_logging_to(
        bin: &Path,
        logs: &Path,
        service_args: &[String],
        stderr: OwnedFd,
    ) -> Result<Self, StackError> {
        let program = bin.join(SERVICE);
        prepare(logs)?;
        let hub = start_hub(bin, logs)?;
        let mut service = start_service(&program, logs, service_args, Stderr::To(stderr))?;
        wait_for(&mut service, bin)?;
        let [bin, logs] = [bin, logs].map(Path::to_path_buf);
        Ok(Self { bin, program, logs, service, hub: Some(hub) })
    }

    /// Starts the service while there is no service manager. [`Stack::start_hub`] and [`Stack::wait_for_service`]
    /// follow.
    pub fn start_without_hub(
        bin: &Path,
        logs: &Path,
        service_args: &[String],
    ) -> Result<Self, StackError> {
        let program = bin.join(SERVICE);
        prepare(logs)?;
        let service = start_service(&program, logs, service_args, Stderr::Log)?;
        let [bin, logs] = [bin, logs].map(Path::to_path_buf);
        Ok(Self { bin, program, logs, service, hub: None })
    }

    /// Starts the service manager, after [`Stack::start_without_hub`] or [`Stack::kill_hub`].
    pub fn start_hub(&mut self) -> Result<(), StackError> {
        self.hub = Some(start_hub(&self.bin, &self.logs)?);
        Ok(())
    }

    /// Kills the service manager, as a crash would.
    pub fn kill_hub(&mut self) -> Result<(), StackError> {
        let Some(mut hub) = self.hub.take() else { return Ok(()) };
        context("kill", hub.child.kill())?;
        context("wait", hub.child.wait()).map(|_| ())
    }

    /// Waits until clients can find the service.
    pub fn wait_for_service(&mut self) -> Result<(), StackError> {
        wait_for(&mut self.service, &self.bin)
    }

    /// The service's process.
    pub fn service_pid(&self) -> u32 {
        self.service.child.id()
    }

    /// Whether the service still runs.
    pub fn service_is_alive(&mut self) -> bool {
        matches!(self.service.child.try_wait(), Ok(None))
    }

    /// What the service has logged.
    pub fn service_log(&self) -> String {
        fs::read_to_string(&self.service.log).unwrap_or_default()
    }

    /// Kills the service, as a crash would.
    pub fn kill_service(&mut self) -> Result<(), StackError> {
        context("kill", self.service.child.kill())?;
        context("wait", self.service.child.wait()).map(|_| ())
    }

    /// Starts the service again after [`Stack::kill_service`].
    pub fn restart_service(&mut self, service_args: &[String]) -> Result<(), StackError> {
        self.service = start_service(&self.program, &self.logs, service_args, Stderr::Log)?;
        self.wait_for_service()
    }
}

/// The command that runs the service, under its user.
pub fn service_command(program: &Path) -> Command {
    let mut command = User::SERVICE.command(program);
    command.args(["--device", "/dev/binder"]);
    command
}

/// Makes the folder for logs, and removes those of an earlier run.
fn prepare(logs: &Path) -> Result<(), StackError> {
    context("logs", fs::create_dir_all(logs))?;
    for name in ["rsb_hub", SERVICE] {
        // There may be none.
        let _ = fs::remove_file(logs.join(format!("{name}.log")));
    }
    Ok(())
}

fn start_hub(bin: &Path, logs: &Path) -> Result<Process, StackError> {
    let rules = write_rules()?;
    let mut hub = User::ROOT.command(bin.join("rsb_hub"));
    hub.arg("--config").arg(rules).args(["--device", "binder"]);
    let mut hub = Process::start("rsb_hub", hub, logs, Stderr::Log)?;
    hub.wait_until(|| answers(Command::new(bin.join("rsb_service")).arg("list")))?;
    Ok(hub)
}

fn start_service(
    program: &Path,
    logs: &Path,
    args: &[String],
    stderr: Stderr,
) -> Result<Process, StackError> {
    let mut command = service_command(program);
    command.args(args);
    Process::start(SERVICE, command, logs, stderr)
}

/// Waits until the service is registered.
fn wait_for(service: &mut Process, bin: &Path) -> Result<(), StackError> {
    service.wait_until(|| answers(Command::new(bin.join("rsb_service")).args(["check", INSTANCE])))
}

/// Rules of the service manager: only the service's user registers the service, only it, the clients'
/// users, the system's and root find it, only root lists. Whatever no rule allows is denied.
fn rules() -> String {
    // The service looks its own name up, so that it does not start beside another instance.
    let mut clients = vec![User::ROOT, User::SYSTEM, User::SHELL, User::SERVICE];
    clients.extend(User::CLIENTS);
    clients.extend(User::DEMO_CLIENTS);
    clients.extend((0..User::CROWD).map(User::of_crowd));
    let clients: Vec<String> = clients.iter().map(|user| user.0.to_string()).collect();
    format!(
        "[global]\nlist = {{ uid = [0] }}\n\n\
         [[rule]]\nname = \"{INSTANCE}\"\nadd = {{ uid = [{}] }}\nfind = {{ uid = [{}] }}\n\n\
         [[service]]\nname = \"{INSTANCE}\"\n",
        User::SERVICE.0,
        clients.join(", ")
    )
}

/// The service manager trusts only what nobody but root can write, all the way up.
fn write_rules() -> Result<PathBuf, StackError> {
    let folder = Path::new("/run/buffersync-hub.d");
    let mut builder = fs::DirBuilder::new();
    context("/run", builder.recursive(true).mode(0o755).create(folder))?;
    let file = folder.join("10-buffersync.toml");
    context("rules", fs::write(&file, rules()))?;
    context("rules", fs::set_permissions(&file, fs::Permissions::from_mode(0o644)))?;
    Ok(folder.to_path_buf())
}

fn answers(command: &mut Command) -> bool {
    let quiet = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    quiet.status().is_ok_and(|status| status.success())
}

fn context<T>(what: impl Into<String>, result: io::Result<T>) -> Result<T, StackError> {
    result.map_err(|source| StackError::Io { what: what.into(), source })
}

/// A process of the stack, and its log.
#[derive(Debug)]
struct Process {
    name: &'static str,
    child: Child,
    log: PathBuf,
}

impl Process {
    fn start(
        name: &'static str,
        mut command: Command,
        logs: &Path,
        stderr: Stderr,
    ) -> Result<Self, StackError> {
        let log = logs.join(format!("{name}.log"));
        let stderr: Stdio = match stderr {
            Stderr::Log => {
                context(name, File::options().create(true).append(true).open(&log))?.into()
            }
            Stderr::To(descriptor) => descriptor.into(),
        };
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(stderr);
        let child = context(name, command.spawn())?;
        Ok(Self { name, child, log })
    }

    fn wait_until(&mut self, ready: impl Fn() -> bool) -> Result<(), StackError> {
        let begin = Instant::now();
        loop {
            if let Ok(Some(status)) = self.child.try_wait() {
                return Err(self.not_ready(format!("ended ({status})")));
            }
            if ready() {
                return Ok(());
            }
            if begin.elapsed() > PATIENCE {
                return Err(self.not_ready(format!("was not ready after {} s", PATIENCE.as_secs())));
            }
            thread::sleep(STEP);
        }
    }

    fn not_ready(&self, why: String) -> StackError {
        let log = fs::read(&self.log).unwrap_or_default();
        let end = &log[log.len().saturating_sub(LOG_END)..];
        let log = String::from_utf8_lossy(end).into_owned();
        StackError::NotReady { name: self.name, why, log }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(Some(_))) {
            return;
        }
        if let Ok(pid) = i32::try_from(self.child.id()) {
            let _ = kill(Pid::from_raw(pid), Signal::SIGTERM);
        }
        let begin = Instant::now();
        while begin.elapsed() < Duration::from_secs(5) {
            if matches!(self.child.try_wait(), Ok(Some(_))) {
                return;
            }
            thread::sleep(STEP);
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rules_name_the_service_its_user_and_its_clients_and_nothing_else() {
        let rules = rules();
        assert!(rules.contains("add = { uid = [1100] }"));
        let find =
            "find = { uid = [0, 1000, 2000, 1100, 1101, 1102, 1103, 1104, 1105, 1106, 1200, ";
        assert!(rules.contains(find));
        assert!(rules.contains(", 1263] }"));
        assert_eq!(rules.matches("[[rule]]").count(), 1);
        assert!(!rules.contains('*'));
    }
}
