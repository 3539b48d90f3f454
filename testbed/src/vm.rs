// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! Runs a command in QEMU: boots, streams the output, brings back the exit status.
//!
//! Three serial ports: the console goes to a file and is shown when something fails; the command's
//! output is streamed, up to a line that ends it; its exit status goes to a file of its own. No status
//! is a failure, whatever the output looked like.

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::path::{Component, Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{channel, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use crate::provision::Parts;
use crate::screen::Screen;
use crate::{during, progress, Accel, Failure, Run};

/// The line before the output, by `guest-init.sh`: the command starts.
const BEGIN: &str = "@@ output";
/// The end of the last line of output, by `guest-init.sh`.
const END: &str = "@@ end of output";
/// Before the name of a file in the out folder. The command prints such a line when it wants a picture of the
/// display, a PPM. It finds the file when the picture is whole.
const SCREENSHOT: &str = "@@ screenshot ";
/// The kernel's log has this when QEMU's translator has crashed the guest: one boot in some hundreds. While Linux boots,
/// it patches its code (static keys), and puts a breakpoint there until the patch is whole. The translator can report
/// that breakpoint to the other processor afterwards, when the kernel expects none.
const STALE_BREAKPOINT: &str = "Oops: int3";
/// How often a guest that crashes in this way is booted.
const TRIES: u32 = 3;
/// Lines of the console shown with a failure: a crash of the kernel has up to 80.
const CONSOLE_LINES: usize = 100;
/// If the probe takes longer, KVM counts as broken: a guest boots in 5 s with a KVM that works.
const PROBE_LIMIT: Duration = Duration::from_secs(20);
/// [`Accel::Counted`]: an instruction takes 2^2 ns, about what the translator needs for one; an idle guest does not
/// wait. The processors take turns on one thread, as a common count needs.
const COUNTED: &str = "shift=2,sleep=off";

/// QEMU 7.2 can leave garbage in the flags after cmpxchg16b, which the kernel's allocator uses; an interrupt in that
/// moment crashes the guest. In a long history it comes. Where the processor lacks the instruction, the kernel does
/// without.
const WITHOUT_CMPXCHG16B: &str = "max,-cx16";

/// A virtual machine that can be booted again and again.
pub struct Machine {
    parts: Parts,
    initramfs: PathBuf,
    kvm: bool,
    /// The clock counts instructions.
    counted: bool,
    /// A camera and a display.
    devices: bool,
    /// See [`Machine::without_coherence`].
    bounced: bool,
    work: PathBuf,
}

impl Machine {
    /// A machine of these parts. Probes KVM if that is wanted.
    pub fn new(
        parts: Parts,
        initramfs: PathBuf,
        accel: Accel,
        cache: &Path,
    ) -> Result<Self, Failure> {
        let (kvm, counted) = (accel == Accel::Kvm, accel == Accel::Counted);
        let work = cache.join("vm");
        let mut machine =
            Self { parts, initramfs, kvm, counted, devices: false, bounced: false, work };
        during(machine.work.display(), fs::create_dir_all(&machine.work))?;
        if accel == Accel::Auto {
            machine.kvm = machine.probe_kvm();
        }
        Ok(machine)
    }

    /// The same machine with a camera and a display.
    pub fn with_devices(self) -> Self {
        Self { devices: true, ..self }
    }

    /// The same machine with memory that is not coherent, and with a device that does DMA. With `swiotlb=force`
    /// devices use copies of the pages that the CPU uses, and only cache operations copy from one to the other; the
    /// device is QEMU's edu.
    pub fn without_coherence(self) -> Self {
        Self { bounced: true, ..self }
    }

    /// True if KVM boots the guest in good time. A /dev/kvm that opens proves nothing: nested machines hang.
    fn probe_kvm(&mut self) -> bool {
        if fs::File::open("/dev/kvm").is_err() {
            return false;
        }
        self.kvm = true;
        let (stage, out) = (self.work.join("probe-stage"), self.work.join("probe-out"));
        let made = fs::create_dir_all(&stage).and_then(|()| fs::create_dir_all(&out));
        let run = Run { command: "true", stage: &stage, out: &out, limit: PROBE_LIMIT };
        let works = made.is_ok() && matches!(self.run(&run, &mut |_| ()), Ok(0));
        progress(if works { "KVM works" } else { "KVM does not work here; using TCG" });
        works
    }

    /// Boots, runs a command and powers off, as [`crate::Testbed::run`] says.
    pub fn run(&self, run: &Run<'_>, line: &mut dyn FnMut(&str)) -> Result<i32, Failure> {
        let mut tried = 1;
        loop {
            let mut up = false;
            match self.boot(run, &mut up, line) {
                Err(failure) if tried < TRIES && is_qemus(&failure, up) => {
                    progress("QEMU has crashed the guest's kernel while it booted; once more");
                    tried += 1;
                }
                result => return result,
            }
        }
    }

    /// Boots once. `up` becomes true when the command starts.
    fn boot(
        &self,
        run: &Run<'_>,
        up: &mut bool,
        line: &mut dyn FnMut(&str),
    ) -> Result<i32, Failure> {
        // Several guests can run at a time, also of several processes.
        static BOOTS: AtomicU32 = AtomicU32::new(0);
        let boot = format!("{}-{}", std::process::id(), BOOTS.fetch_add(1, Ordering::Relaxed));
        let console = self.work.join(format!("console-{boot}"));
        let status = self.work.join(format!("status-{boot}"));
        for file in [&console, &status] {
            during(file.display(), fs::write(file, ""))?;
        }
        // Several boots can have the same stage, and each has a command of its own.
        let script = Script::write(run, format!("run-{boot}"))?;
        let (accel, how) = match (self.kvm, self.counted) {
            (true, _) => ("kvm", "KVM"),
            (false, false) => ("tcg,thread=multi", "TCG"),
            (false, true) => ("tcg,thread=single", "TCG, instructions are counted"),
        };
        progress(format_args!("booting the guest ({how})"));
        let begin = Instant::now();
        let mut command = self.command(run, &script, accel, &console, &status);
        let screen = self.devices.then(|| Screen::of_boot(&boot));
        if let Some(screen) = &screen {
            screen.connect(&mut command);
        }
        let mut qemu = Qemu(during("qemu", command.spawn())?);
        let mut each = |text: &str| match (text.strip_prefix(SCREENSHOT), &screen) {
            (Some(file), Some(screen)) => {
                let part = self.work.join(format!("screen-{boot}"));
                screen.shoot(&part, &below(run.out, file)?)
            }
            _ => {
                line(text);
                Ok(())
            }
        };
        let end = self.stream(&mut qemu, run, begin, up, &mut each);
        let said = qemu.stop();
        let (status, said) = (take(&status), format!("{}{said}", end_of(&take(&console))));
        let failure = match (end, parse_status(&status)) {
            (Ok(()), Some(code)) => {
                progress(format_args!("guest done after {:.1} s", begin.elapsed().as_secs_f64()));
                return Ok(code);
            }
            (Err(failure), _) => failure.0,
            (Ok(()), None) => "the guest ended without an exit status".to_string(),
        };
        Err(Failure(format!("{failure}\n{said}")))
    }

    fn command(
        &self,
        run: &Run<'_>,
        script: &Script,
        accel: &str,
        console: &Path,
        status: &Path,
    ) -> Command {
        let mut qemu = Command::new(&self.parts.qemu);
        let (cpu, number) = match (self.kvm, self.bounced) {
            (true, _) => ("host", "2"),
            (false, false) => ("max", "2"),
            (false, true) => (WITHOUT_CMPXCHG16B, "1"),
        };
        qemu.args(["-machine", "q35", "-accel", accel, "-cpu", cpu, "-smp", number, "-m", "2048"]);
        if self.counted {
            qemu.args(["-icount", COUNTED]);
        }
        qemu.args(["-display", "none", "-monitor", "none", "-no-reboot", "-nic", "none"]);
        qemu.arg("-kernel").arg(&self.parts.kernel).arg("-initrd").arg(&self.initramfs);
        // Each policy that a test loads leaves 18 kB in the kernel's log, where the test looks for denials.
        let mut words = "console=ttyS0 panic=1 quiet security=selinux log_buf_len=4M".to_string();
        // Words that the kernel does not know are in the environment of guest-init.sh.
        words.push_str(&format!(" RUN={}", script.name));
        if self.devices {
            words.push_str(" DEVICES=1");
        }
        if self.bounced {
            words.push_str(" swiotlb=force");
            // Without the mask it reaches 256 MB.
            qemu.args(["-device", "edu,dma_mask=0xffffffffffff"]);
        }
        qemu.args(["-append", &words]);
        qemu.arg("-serial").arg(format!("file:{}", console.display()));
        qemu.args(["-serial", "stdio"]);
        qemu.arg("-serial").arg(format!("file:{}", status.display()));
        let root = Path::new("/");
        let read_only = ",readonly=on";
        for (tag, path, more) in
            [("stage", run.stage, read_only), ("out", run.out, ""), ("host", root, read_only)]
        {
            let path = path.display();
            let shared =
                format!("local,id={tag},path={path},security_model=none,multidevs=remap{more}");
            qemu.arg("-fsdev").arg(shared);
            qemu.arg("-device").arg(format!("virtio-9p-pci,fsdev={tag},mount_tag={tag}"));
        }
        qemu.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        qemu
    }

    fn stream(
        &self,
        qemu: &mut Qemu,
        run: &Run<'_>,
        begin: Instant,
        up: &mut bool,
        line: &mut dyn FnMut(&str) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        let output = qemu.0.stdout.take().ok_or_else(|| Failure("qemu has no output".into()))?;
        let (sender, lines) = channel();
        thread::spawn(move || {
            let mut reader = BufReader::new(output);
            let mut bytes = Vec::new();
            while matches!(reader.read_until(b'\n', &mut bytes), Ok(read) if read > 0) {
                let text =
                    String::from_utf8_lossy(&bytes).trim_end_matches(['\n', '\r']).to_string();
                bytes.clear();
                if sender.send(text).is_err() {
                    break;
                }
            }
        });
        loop {
            let left = run.limit.checked_sub(begin.elapsed()).ok_or_else(|| hang(run.limit))?;
            match lines.recv_timeout(left) {
                Ok(text) => {
                    if !*up && text == BEGIN {
                        *up = true;
                        let seconds = begin.elapsed().as_secs_f64();
                        progress(format_args!("guest is up after {seconds:.1} s"));
                        continue;
                    }
                    let Some(last) = text.strip_suffix(END) else {
                        line(&text)?;
                        continue;
                    };
                    // The command did not end its last line.
                    if !last.is_empty() {
                        line(last)?;
                    }
                    return Ok(());
                }
                // The guest has closed its port: QEMU has ended.
                Err(RecvTimeoutError::Disconnected) => return Ok(()),
                Err(RecvTimeoutError::Timeout) => return Err(hang(run.limit)),
            }
        }
    }
}

fn hang(limit: Duration) -> Failure {
    Failure(format!("the guest did not end within {} s", limit.as_secs()))
}

/// A QEMU that does not outlive its run.
struct Qemu(Child);

impl Qemu {
    /// Ends it, and returns what it said on standard error.
    fn stop(&mut self) -> String {
        let _ = self.0.kill();
        let _ = self.0.wait();
        let mut said = String::new();
        if let Some(mut stderr) = self.0.stderr.take() {
            let _ = stderr.read_to_string(&mut said);
        }
        if said.trim().is_empty() {
            String::new()
        } else {
            format!("\nqemu: {}", said.trim())
        }
    }
}

impl Drop for Qemu {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The command of one boot, in the stage folder, where guest-init.sh finds it by its name.
struct Script {
    name: String,
    file: PathBuf,
}

impl Script {
    fn write(run: &Run<'_>, name: String) -> Result<Self, Failure> {
        let text =
            format!("export BUFFERSYNC_STAGE=/stage BUFFERSYNC_OUT=/out\ncd /\n{}\n", run.command);
        let file = run.stage.join(&name);
        during("staging", fs::write(&file, text))?;
        Ok(Self { name, file })
    }
}

impl Drop for Script {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.file);
    }
}

/// A file of the out folder that the guest has named.
fn below(out: &Path, name: &str) -> Result<PathBuf, Failure> {
    let file = Path::new(name);
    let is_below = file.components().all(|part| matches!(part, Component::Normal(_)));
    let why =
        || Failure(format!("the guest wants a screenshot in {name:?}: not in its out folder"));
    // The guest can make a link that leads out of the folder.
    let folder = file.parent().and_then(|folder| out.join(folder).canonicalize().ok());
    let own = during(out.display(), out.canonicalize())?;
    let is_below = is_below && !name.is_empty() && folder.is_some_and(|f| f.starts_with(own));
    is_below.then(|| out.join(file)).ok_or_else(why)
}

/// True for a crash that is QEMU's fault, and that no command can have had a part in.
fn is_qemus(Failure(why): &Failure, up: bool) -> bool {
    !up && why.contains(STALE_BREAKPOINT)
}

/// The number after `exit=`, if the line is whole.
pub fn parse_status(text: &str) -> Option<i32> {
    let (line, _) = text.split_once('\n')?;
    line.trim().strip_prefix("exit=")?.parse().ok()
}

/// The text of a file, which is not needed any more.
fn take(file: &Path) -> String {
    let bytes = fs::read(file).unwrap_or_default();
    let _ = fs::remove_file(file);
    String::from_utf8_lossy(&bytes).into_owned()
}

/// The end of a console.
fn end_of(text: &str) -> String {
    let lines: Vec<&str> = text.lines().collect();
    let from = lines.len().saturating_sub(CONSOLE_LINES);
    format!("the console's end:\n  {}", lines[from..].join("\n  "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_guest_is_booted_again_only_if_qemu_has_crashed_its_boot() {
        let crash = Failure(end_of("[ 3.3] Oops: int3: 0000 [#1] PREEMPT SMP NOPTI\n[ 3.4] RIP"));
        assert!(is_qemus(&crash, false) && !is_qemus(&crash, true));
        let crash = Failure(end_of("[ 3.3] BUG: kernel NULL pointer dereference"));
        assert!(!is_qemus(&crash, false));
    }

    #[test]
    fn a_guest_writes_below_its_out_folder_only() {
        let out = std::env::temp_dir().join(format!("buffersync-below-{}", std::process::id()));
        fs::create_dir_all(out.join("demo")).unwrap();
        std::os::unix::fs::symlink("/", out.join("link")).unwrap();
        let file = below(&out, "demo/screen.ppm").expect("a file below");
        assert_eq!(file, out.join("demo/screen.ppm"));
        let bad = ["", "/etc/passwd", "../other", "demo/../../other", "link/other", "none/other"];
        let refused = bad.map(|name| below(&out, name).is_err());
        fs::remove_dir_all(&out).unwrap();
        assert_eq!(refused, [true; 6], "{bad:?}");
    }

    #[test]
    fn only_a_whole_status_counts() {
        assert_eq!(parse_status("exit=0\n"), Some(0));
        assert_eq!(parse_status("exit=143\r\n"), Some(143));
        assert_eq!(parse_status("exit=1"), None);
        assert_eq!(parse_status(""), None);
        assert_eq!(parse_status("exit=\n"), None);
        assert_eq!(parse_status("panic\n"), None);
    }
}
