// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! Runs the pipeline once with locks and once without, and adds up what its processes report.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::sync::mpsc::{channel, Receiver, Sender};
use std::thread;
use std::time::{Duration, Instant};

use buffersync_client::BufferSync;
use buffersync_testbed_guest::kms::{self, Display};
use buffersync_testbed_guest::user::User;
use buffersync_testbed_guest::v4l2::{self, Camera};
use nix::fcntl::{fcntl, FcntlArg, FdFlag};

use crate::roles::FRAMES;
use crate::span::{torn_frames, Span, Spans};
use crate::{screen, timeline, Failure};

/// The roles of the processes, with their users. The last one has no part in the control run.
const ROLES: [(&str, User); 5] = [
    ("camera", User::CAMERA),
    ("codec", User::CODEC),
    ("writer", User::WRITER),
    ("display", User::DISPLAY),
    ("stuck", User::STUCK),
];
/// The camera uses each of its buffers twice: before that no frame of the control run can be torn.
pub const FEWEST_FRAMES: u64 = 2 * FRAMES as u64;
/// The longest time for one run, also on a slow emulated machine.
const PATIENCE: Duration = Duration::from_secs(240);

/// Tells if this is the name of a role.
pub fn is_role(word: &str) -> bool {
    ROLES.iter().any(|(name, _)| *name == word)
}

/// The reports of all processes of a run.
#[derive(Default)]
struct Outcome {
    /// The frames that each role has had.
    counts: BTreeMap<&'static str, u64>,
    devices: BTreeMap<&'static str, String>,
    seconds: f64,
    spans: Spans,
}

impl Outcome {
    fn count(&self, role: &str) -> u64 {
        self.counts.get(role).copied().unwrap_or(0)
    }

    fn torn(&self) -> usize {
        torn_frames(self.spans.values().flatten())
    }

    fn evicted(&self) -> usize {
        self.spans.values().flatten().filter(|span| span.evicted).count()
    }

    fn device(&self, role: &str) -> &str {
        self.devices.get(role).map_or("none", String::as_str)
    }
}

/// The command line.
pub struct Demo {
    pub out: PathBuf,
    pub frames: u64,
    /// The testbed takes a picture of the screen when it is asked to.
    pub screenshot: bool,
}

impl Demo {
    /// Runs the demo. Its last line has the result.
    pub fn run(&self) -> Result<(), Failure> {
        check_devices()?;
        fs::create_dir_all(&self.out)?;
        let service = BufferSync::connect()?;
        let before = Counters::read(&service)?;
        let frames = self.frames;
        println!("{frames} frames with locks:");
        let locked = self.pipeline(true)?;
        let after = Counters::settled(&service)?;
        let cache_ops = after.issued - before.issued;
        let bracketing = after.bracketing - before.bracketing;
        println!("the same without locks:");
        let control = self.pipeline(false)?;
        let drawn = timeline::draw(&locked.spans, &control.spans);
        fs::write(self.out.join("timeline.svg"), drawn)?;

        print_table(&locked);
        println!("{:.1} s with locks, {:.1} s without", locked.seconds, control.seconds);
        let (encoded, shown) = (locked.count("writer"), locked.count("display"));
        let (torn, control_torn, evicted) = (locked.torn(), control.torn(), locked.evicted());
        println!(
            "demo: camera={} display={} frames={} torn={torn} control_torn={control_torn} \
             evicted={evicted} cache_ops={cache_ops} bracketing_ops={bracketing} encoded={encoded} shown={shown}",
            locked.device("camera"),
            locked.device("display"),
            locked.count("camera"),
        );
        let is_good = locked.count("camera") == frames
            && (encoded, shown) == (frames, frames)
            && control.count("writer") == frames
            && torn == 0
            && control_torn > 0
            && evicted == 1
            && cache_ops < bracketing;
        if is_good {
            Ok(())
        } else {
            // The line above shows the reason, and must stay the last one.
            std::process::exit(1)
        }
    }
}

/// Fails, and says what is missing, if this machine has not both devices.
fn check_devices() -> Result<(), Failure> {
    let camera = format!("a camera of the driver {} (modprobe {0})", v4l2::DRIVER);
    let display =
        format!("a display of the driver {} (QEMU's -vga cirrus; modprobe {0})", kms::DRIVERS[0]);
    let wanted = [(Camera::is_there(), camera), (Display::is_there(), display)];
    let missing: Vec<String> =
        wanted.into_iter().filter(|(is_there, _)| !is_there).map(|(_, what)| what).collect();
    if missing.is_empty() {
        return Ok(());
    }
    Err(format!("the demo needs {}: there is none here", missing.join(" and ")).into())
}

fn print_table(locked: &Outcome) {
    println!(
        "process   locks   wait (ms): median   longest   held (ms): median   work (ms): median"
    );
    for (role, spans) in &locked.spans {
        let millis = |of: fn(&Span) -> u64| {
            let mut times: Vec<u64> = spans.iter().map(of).collect();
            times.sort_unstable();
            let at = |index: usize| times.get(index).map_or(0.0, |nanos| *nanos as f64 / 1e6);
            (at(times.len() / 2), at(times.len().saturating_sub(1)))
        };
        let (wait, longest) = millis(|span| span.granted - span.asked);
        let (held, _) = millis(|span| span.ended - span.granted);
        let (work, _) = millis(|span| span.work.1 - span.work.0);
        println!(
            "{role:<9} {:>5}   {wait:>17.1}   {longest:>7.1}   {held:>17.1}   {work:>17.1}",
            spans.len()
        );
    }
}

/// A message from the thread that reads a child's output.
enum Said {
    Line(usize, String),
    End(usize),
}

impl Demo {
    fn pipeline(&self, locks: bool) -> Result<Outcome, Failure> {
        let begin = Instant::now();
        let folder = Folder::new()?;
        let (camera_codec, codec_camera) = UnixStream::pair()?;
        let (camera_display, display) = UnixStream::pair()?;
        let (codec_writer, writer) = UnixStream::pair()?;
        let (codec_stuck, stuck) = UnixStream::pair()?;
        let camera = vec![camera_codec, camera_display];
        let mut codec = vec![codec_camera, codec_writer];
        codec.extend(locks.then_some(codec_stuck));
        let mut sockets = vec![camera, codec, vec![writer], vec![display]];
        sockets.extend(locks.then_some(vec![stuck]));
        let (say, said) = channel();
        let mut processes = Processes(Vec::new());
        for (role, sockets) in sockets.into_iter().enumerate() {
            let process = spawn(role, self.frames, locks, &folder.0, sockets, say.clone())?;
            processes.0.push(process);
        }
        drop(say);
        if !self.shoots(locks) {
            processes.release("display")?;
        }
        let mut outcome = self.listen(&mut processes, &said, locks)?;
        outcome.seconds = begin.elapsed().as_secs_f64();
        folder.save(&self.out, if locks { "frame" } else { "control" })?;
        Ok(outcome)
    }
}

/// A folder of the writer's, who may not write anywhere else.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Result<Self, Failure> {
        let path = std::env::temp_dir().join(format!("buffersync-demo-{}", std::process::id()));
        let folder = Self(path);
        fs::create_dir(&folder.0)?;
        let User(writer) = User::WRITER;
        std::os::unix::fs::chown(&folder.0, Some(writer), Some(writer))?;
        Ok(folder)
    }

    /// Copies the frames out, under another name.
    fn save(&self, out: &Path, name: &str) -> Result<(), Failure> {
        for entry in fs::read_dir(&self.0)?.flatten() {
            let file = entry.file_name().to_string_lossy().replacen("frame", name, 1);
            fs::copy(entry.path(), out.join(file))?;
        }
        Ok(())
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// The children of a run, which end with it. They are in the order of [`ROLES`].
struct Processes(Vec<Child>);

impl Processes {
    /// Lets a process go on that waits for the end of its standard input.
    fn release(&mut self, role: &str) -> Result<(), Failure> {
        let mut named = self.0.iter_mut().zip(ROLES).filter(|(_, (name, _))| *name == role);
        let input = named.next().and_then(|(child, _)| child.stdin.take());
        input.map(drop).ok_or_else(|| format!("{role} does not wait").into())
    }
}

impl Drop for Processes {
    fn drop(&mut self) {
        for child in &mut self.0 {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn spawn(
    role: usize,
    frames: u64,
    locks: bool,
    folder: &Path,
    sockets: Vec<UnixStream>,
    say: Sender<Said>,
) -> Result<Child, Failure> {
    let (name, user) = ROLES[role];
    let mut command = user.command(std::env::current_exe()?);
    command.args([name, &frames.to_string(), if locks { "locks" } else { "no-locks" }]);
    command.arg(folder);
    for socket in &sockets {
        // Only this child inherits it: our copy is closed before the next child starts.
        fcntl(socket.as_raw_fd(), FcntlArg::F_SETFD(FdFlag::empty()))?;
        command.arg(socket.as_raw_fd().to_string());
    }
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
    drop(sockets.into_iter().map(OwnedFd::from).collect::<Vec<_>>());
    let output = child.stdout.take().ok_or("a process without output")?;
    thread::spawn(move || {
        for line in BufReader::new(output).lines().map_while(Result::ok) {
            if say.send(Said::Line(role, line)).is_err() {
                return;
            }
        }
        let _ = say.send(Said::End(role));
    });
    Ok(child)
}

impl Demo {
    fn listen(
        &self,
        processes: &mut Processes,
        said: &Receiver<Said>,
        locks: bool,
    ) -> Result<Outcome, Failure> {
        let begin = Instant::now();
        let mut outcome = Outcome::default();
        let mut done = vec![false; processes.0.len()];
        let mut failure: Option<String> = None;
        while done.iter().any(|done| !done) {
            let left = PATIENCE.saturating_sub(begin.elapsed());
            match said.recv_timeout(left).map_err(|_| "the pipeline hangs")? {
                Said::Line(role, line) => {
                    if let Some(why) = line.strip_prefix("error ") {
                        // The first error is the cause; the neighbours only lose their sockets.
                        failure.get_or_insert_with(|| format!("{}: {why}", ROLES[role].0));
                    } else if let Some(count) = line.strip_prefix("progress ") {
                        self.progress(count.parse()?, locks, processes)?;
                    } else {
                        take(&mut outcome, ROLES[role].0, &line)?;
                    }
                }
                Said::End(role) => {
                    let status = processes.0[role].wait()?;
                    done[role] = true;
                    if !status.success() {
                        let why = failure.unwrap_or_else(|| format!("{}: {status}", ROLES[role].0));
                        return Err(first_cause(said, why).into());
                    }
                }
            }
        }
        Ok(outcome)
    }

    /// So many frames are saved. With locks the stuck process starts after a third of the run, and after two thirds
    /// there is a picture of the screen, while frames flow.
    fn progress(&self, count: u64, locks: bool, processes: &mut Processes) -> Result<(), Failure> {
        if count.is_multiple_of(20) {
            println!("  {count} frames");
        }
        if locks && count == self.frames / 3 {
            processes.release("stuck")?;
        }
        if self.shoots(locks) && count == self.frames * 2 / 3 {
            screen::shoot(&self.out)?;
            processes.release("display")?;
        }
        Ok(())
    }

    /// Tells if there is a picture of the screen of this run. The display stays on until it is taken.
    fn shoots(&self, locks: bool) -> bool {
        locks && self.screenshot
    }
}

/// Waits a moment for a better reason: a process that lost its neighbour may report before the neighbour.
fn first_cause(said: &Receiver<Said>, heard: String) -> String {
    let service = "service died";
    if heard.contains(service) {
        return heard;
    }
    let until = Instant::now() + Duration::from_millis(300);
    while let Ok(Said::Line(role, line)) =
        said.recv_timeout(until.saturating_duration_since(Instant::now()))
    {
        if line.contains(service) {
            return format!("{}: {}", ROLES[role].0, line.trim_start_matches("error "));
        }
    }
    heard
}

fn take(outcome: &mut Outcome, role: &'static str, line: &str) -> Result<(), Failure> {
    if let Some(device) = line.strip_prefix("device ") {
        outcome.devices.insert(role, device.to_string());
    } else if let Some(span) = Span::from_line(line) {
        outcome.spans.entry(role).or_default().push(span);
    } else if let Some(frames) = line.strip_prefix("done ") {
        outcome.counts.insert(role, frames.parse()?);
    }
    Ok(())
}

struct Counters {
    /// SYNC ioctls that the service has issued.
    issued: u64,
    /// SYNC ioctls for a START and an END around every access.
    bracketing: u64,
    /// Buffers that the service knows.
    buffers: u64,
}

impl Counters {
    fn read(service: &BufferSync) -> Result<Self, Failure> {
        let text = service.dump(&["counters"])?;
        let value = |name: &str| -> Result<u64, Failure> {
            let pair = text.split_whitespace().filter_map(|pair| pair.split_once('='));
            let found = pair.clone().find(|(key, _)| *key == name);
            let (_, value) = found.ok_or_else(|| format!("the dump has no {name}"))?;
            Ok(value.parse()?)
        };
        Ok(Self {
            issued: value("sync_start")? + value("sync_end")?,
            bracketing: value("bracketing_ops")?,
            buffers: value("buffers")?,
        })
    }

    /// Reads the counters after the service has let the last buffer go, which may need an END.
    fn settled(service: &BufferSync) -> Result<Self, Failure> {
        let begin = Instant::now();
        loop {
            let counters = Self::read(service)?;
            if counters.buffers == 0 || begin.elapsed() > Duration::from_secs(10) {
                return Ok(counters);
            }
            thread::sleep(Duration::from_millis(10));
        }
    }
}
