// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! Runs the pipeline once with locks and once without, and adds up what its processes report.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Stdio};
use std::sync::mpsc::{channel, Receiver, Sender};
use std::thread;
use std::time::{Duration, Instant};

use buffersync_client::BufferSync;
use buffersync_testbed_guest::user::User;
use nix::fcntl::{fcntl, FcntlArg, FdFlag};

use crate::span::{overlap, Span, Spans};
use crate::timeline;
use crate::Failure;

pub const ROLES: [&str; 4] = ["camera", "codec", "preview", "stuck"];
/// The longest time for one run, also on a slow emulated machine.
const PATIENCE: Duration = Duration::from_secs(120);

/// The reports of all processes of a run.
#[derive(Default)]
struct Outcome {
    frames: u64,
    torn: u64,
    evicted: u64,
    seconds: f64,
    spans: Spans,
}

/// Runs the demo. Its last line has the result.
pub fn run(out: &Path, frames: u64) -> Result<(), Failure> {
    fs::create_dir_all(out)?;
    let service = BufferSync::connect()?;
    let before = Counters::read(&service)?;
    println!("{frames} frames through buffersync:");
    let locked = run_pipeline(frames, true)?;
    let after = Counters::settled(&service)?;
    let cache_ops = after.issued - before.issued;
    let bracketing = after.bracketing - before.bracketing;
    println!("the same pipeline without locks:");
    let control = run_pipeline(frames, false)?;
    fs::write(out.join("timeline.svg"), timeline::draw(&locked.spans, &control.spans))?;

    let overlap = overlap(locked.spans.values().flatten());
    print_table(&locked);
    println!(
        "{:.1} s with locks, {:.1} s without; timeline.svg shows the hand-over of frames",
        locked.seconds, control.seconds
    );
    println!(
        "torn and control_torn count torn reads: codec and preview each read every frame once, so \
         {frames} frames can count {} times",
        2 * frames
    );
    println!(
        "demo: frames={} torn={} control_torn={} evicted={} cache_ops={cache_ops} \
         bracketing_ops={bracketing} overlap_ms={}",
        locked.frames,
        locked.torn,
        control.torn,
        locked.evicted,
        overlap / 1_000_000
    );
    let good = locked.frames == frames
        && control.frames == frames
        && locked.torn == 0
        && control.torn > 0
        && locked.evicted == 1
        && cache_ops < bracketing
        && overlap >= 1_000_000;
    if good {
        Ok(())
    } else {
        // The line above shows the reason, and must stay the last one.
        std::process::exit(1)
    }
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

fn run_pipeline(frames: u64, locks: bool) -> Result<Outcome, Failure> {
    let begin = Instant::now();
    let (camera, codec_in) = UnixStream::pair()?;
    let (codec_out, preview) = UnixStream::pair()?;
    let (codec_stuck, stuck) = UnixStream::pair()?;
    let (say, said) = channel();
    let mut processes = Processes(Vec::new());
    let mut start = |role: usize, user, sockets: Vec<UnixStream>| -> Result<(), Failure> {
        processes.0.push(spawn(role, user, frames, locks, sockets, say.clone())?);
        Ok(())
    };
    start(0, User::CAMERA, vec![camera])?;
    if locks {
        start(1, User::CODEC, vec![codec_in, codec_out, codec_stuck])?;
        start(2, User::PREVIEW, vec![preview])?;
        start(3, User::STUCK, vec![stuck])?;
    } else {
        start(1, User::CODEC, vec![codec_in, codec_out])?;
        start(2, User::PREVIEW, vec![preview])?;
    }
    drop(say);
    let mut outcome = listen(&mut processes, &said, frames)?;
    outcome.seconds = begin.elapsed().as_secs_f64();
    Ok(outcome)
}

/// The children of a run, which end with it.
struct Processes(Vec<Child>);

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
    user: User,
    frames: u64,
    locks: bool,
    sockets: Vec<UnixStream>,
    say: Sender<Said>,
) -> Result<Child, Failure> {
    let mut command = user.command(std::env::current_exe()?);
    command.args([ROLES[role], &frames.to_string(), if locks { "locks" } else { "no-locks" }]);
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

fn listen(
    processes: &mut Processes,
    said: &Receiver<Said>,
    frames: u64,
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
                    failure.get_or_insert_with(|| format!("{}: {why}", ROLES[role]));
                } else {
                    take(&mut outcome, role, &line)?;
                    // Stuck starts after a third of the run, or early if it is a short one.
                    if line == format!("progress {}", (frames / 3 / 50).max(1) * 50) {
                        let stuck = processes.0.get_mut(3).and_then(|child| child.stdin.take());
                        if let Some(mut go) = stuck {
                            go.write_all(b"!")?;
                        }
                    }
                }
            }
            Said::End(role) => {
                let status = processes.0[role].wait()?;
                done[role] = true;
                if !status.success() {
                    let why = failure.unwrap_or_else(|| format!("{}: {status}", ROLES[role]));
                    return Err(first_cause(said, why).into());
                }
            }
        }
    }
    Ok(outcome)
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
            return format!("{}: {}", ROLES[role], line.trim_start_matches("error "));
        }
    }
    heard
}

fn take(outcome: &mut Outcome, role: usize, line: &str) -> Result<(), Failure> {
    if let Some(count) = line.strip_prefix("progress ") {
        println!("  {count} frames");
    } else if let Some(span) = Span::from_line(line) {
        outcome.torn += u64::from(span.torn);
        outcome.spans.entry(ROLES[role]).or_default().push(span);
    } else if let Some(counts) = line.strip_prefix("done ") {
        let counts: Vec<u64> = counts.split(' ').filter_map(|word| word.parse().ok()).collect();
        let [frames, evicted] = counts[..] else {
            return Err(format!("{} said {line:?}", ROLES[role]).into());
        };
        match ROLES[role] {
            "preview" => outcome.frames = frames,
            "stuck" => outcome.evicted = evicted,
            // For other roles this counts the grants with an eviction mark.
            _ => {}
        }
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
