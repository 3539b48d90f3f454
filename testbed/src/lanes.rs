// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! Runs many jobs in one boot of the testbed, several at the same time.
//!
//! Most jobs wait most of the time: for a hold limit, or for a service that comes up. So there are more lanes
//! than processors. A lane has a binder device, a `/run` and a table of processes of its own (namespaces), so
//! that its service manager, its service and its clients see no others. /tmp, the heaps, the kernel's trace and its
//! SELinux policy are one for all. A lane takes the next job when it is done with one; the longest jobs should
//! come first.
//!
//! A job's output is kept until the job has ended, because lines of several jobs would mix.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::time::Duration;

use crate::{during, progress, Failure, Run, Testbed};

/// The binder devices of the lanes: the driver has one service manager for each. The guest's init makes them.
const DEVICES: [&str; 5] = ["lane0", "lane1", "lane2", "lane3", "lane4"];
/// Seconds after which a job is ended.
const JOB_LIMIT: u32 = 900;
/// Prefix of the script's own lines, which no job prints. All other lines are a job's output.
const MARK: &str = "@@lanes@@ ";

/// A shell script with a name. `$BUFFERSYNC_OUT` is a folder of its own, of which the host gets a copy if the job
/// fails.
#[derive(Clone, Debug)]
pub struct Job {
    /// Shown, and the name of its output's file in the out folder.
    pub name: String,
    /// The script.
    pub script: String,
    /// It changes something that the whole kernel has once, such as the SELinux policy. It runs after all others.
    pub alone: bool,
}

/// What a job did.
#[derive(Debug)]
pub struct Done<'a> {
    /// The job.
    pub job: &'a Job,
    /// Its exit status.
    pub status: i32,
    /// How long it took.
    pub time: Duration,
    /// Its output.
    pub lines: Vec<String>,
}

/// Runs jobs; `done` gets each that has ended. An error means that the testbed failed, or that a job got lost.
pub fn run(
    testbed: &Testbed,
    stage: &Path,
    out: &Path,
    limit: Duration,
    jobs: &[Job],
    done: &mut dyn FnMut(&Done<'_>),
) -> Result<(), Failure> {
    let mut reader = Reader { jobs, left: (0..jobs.len()).collect(), current: None };
    let run = Run { command: &script(jobs), stage, out, limit };
    let status = testbed.run(&run, &mut |line| {
        if let Some(ended) = reader.read(line) {
            let log = out.join(format!("{}.log", ended.job.name));
            if let Err(error) = fs::write(&log, ended.lines.join("\n") + "\n") {
                progress(format_args!("{}: {error}", log.display()));
            }
            done(&ended);
        }
    });
    let lost = reader.left.iter().map(|nth| jobs[*nth].name.as_str());
    let lost: Vec<&str> = lost.collect();
    let status = during(format_args!("not ended: {}", lost.join(", ")), status)?;
    if status != 0 || !lost.is_empty() {
        return Err(Failure(format!("exit status {status}; not ended: {}", lost.join(", "))));
    }
    Ok(())
}

/// The jobs as one script. Without the lanes' devices (`--native`) all jobs run one after the other.
fn script(jobs: &[Job]) -> String {
    let mut script = String::from("rm -rf /tmp/jobs; mkdir /tmp/jobs; cd /tmp/jobs\n");
    for (nth, Job { name, script: job, .. }) in jobs.iter().enumerate() {
        let _ = writeln!(script, "echo {name} >{nth}.name");
        let _ = writeln!(script, "cat >{nth} <<'END OF JOB'\n{job}\nEND OF JOB");
    }
    let numbers = |alone| {
        let numbers = jobs.iter().enumerate().filter(|(_, job)| job.alone == alone);
        numbers.map(|(nth, _)| nth.to_string()).collect::<Vec<_>>().join(" ")
    };
    // mkdir succeeds in one lane only. Short lines of several writers do not mix in a pipe.
    let _ = write!(
        script,
        "cat >lane <<'END OF LANE'\n\
         for job in $*; do\n\
         mkdir taken-$job 2>/dev/null || continue\n\
         echo begin $job; begin=$(date +%s); mkdir out-$job\n\
         BUFFERSYNC_OUT=/tmp/jobs/out-$job timeout {JOB_LIMIT} sh $job </dev/null >$job.log 2>&1\n\
         status=$?; kept=$BUFFERSYNC_OUT/$(cat $job.name); rm -rf $kept\n\
         [ $status = 0 ] || cp -r out-$job $kept\n\
         echo end $job $status $(($(date +%s) - begin))\n\
         done\n\
         END OF LANE\n\
         show() {{ while read what job rest; do\n\
         echo '{MARK}'$what $job $rest\n\
         [ $what = begin ] || {{ cat $job.log; echo; echo '{MARK}'shown $job; }}\n\
         done; }}\n\
         {{ if [ -c /dev/{first} ]; then\n\
         for device in {devices}; do\n\
         device=$device unshare -m -p -f sh -c 'mount -t proc proc /proc && \
         mount -t tmpfs -o mode=0755 run /run && \
         mount --bind /dev/$device /dev/binder && exec sh lane {lanes}' & \n\
         done; wait\n\
         else sh lane {lanes}; fi\n\
         sh lane {alone}; }} | show\n",
        first = DEVICES[0],
        devices = DEVICES.join(" "),
        lanes = numbers(false),
        alone = numbers(true),
    );
    script
}

/// Reads the lines of the script.
struct Reader<'a> {
    jobs: &'a [Job],
    left: BTreeSet<usize>,
    /// The job whose output is being shown.
    current: Option<Done<'a>>,
}

impl<'a> Reader<'a> {
    /// Returns a job when its last line has been read.
    fn read(&mut self, line: &str) -> Option<Done<'a>> {
        let Some(words) = line.strip_prefix(MARK) else {
            match &mut self.current {
                Some(current) => current.lines.push(line.to_string()),
                None => progress(line),
            }
            return None;
        };
        let words: Vec<&str> = words.split(' ').collect();
        let number = |at: usize| words.get(at)?.parse::<u32>().ok();
        let nth = usize::try_from(number(1)?).ok()?;
        let job = self.jobs.get(nth)?;
        match words[0] {
            "begin" => progress(format_args!("{} ...", job.name)),
            "end" => {
                let (status, seconds) = (number(2)?, number(3)?);
                progress(format_args!("{}: {seconds} s", job.name));
                let time = Duration::from_secs(seconds.into());
                let status = i32::try_from(status).unwrap_or(1);
                self.current = Some(Done { job, status, time, lines: Vec::new() });
            }
            "shown"
                if self.current.as_ref().is_some_and(|current| current.job.name == job.name) =>
            {
                self.left.remove(&nth);
                let mut done = self.current.take()?;
                // The script ends the last line, in case that the job did not.
                done.lines.pop_if(|line| line.is_empty());
                return Some(done);
            }
            _ => progress(line),
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn job(name: &str, script: &str, alone: bool) -> Job {
        Job { name: name.into(), script: script.into(), alone }
    }

    #[test]
    fn jobs_are_read_from_the_scripts_own_lines() {
        let jobs = [
            job("last", "echo last; echo '@@ -1 +1 @@'", true),
            job("fails", "echo 'it'\\''s no use'; printf unfinished; exit 7", false),
            job("quiet", "exec >$BUFFERSYNC_OUT/x", false),
        ];
        let script = script(&jobs).replace("/tmp/jobs", "$JOBS");
        let folder = std::env::temp_dir().join(format!("buffersync-lanes-{}", std::process::id()));
        let run = std::process::Command::new("sh")
            .args(["-c", &script.replace("/dev/lane0", "/dev/no-lane")])
            .env("JOBS", &folder)
            .output()
            .unwrap();
        fs::remove_dir_all(&folder).unwrap();
        let said = String::from_utf8(run.stdout).unwrap();
        let mut reader = Reader { jobs: &jobs, left: (0..3).collect(), current: None };
        let done: Vec<_> = said.lines().filter_map(|line| reader.read(line)).collect();
        let of: Vec<_> = done.iter().map(|done| (&*done.job.name, done.status)).collect();
        assert_eq!(of, [("fails", 7), ("quiet", 0), ("last", 0)], "{said}");
        assert_eq!(done[0].lines, ["it's no use", "unfinished"]);
        assert!(reader.left.is_empty());
        // Output that is cut leaves its job among those that are left.
        let mut reader = Reader { jobs: &jobs, left: (0..3).collect(), current: None };
        let cut = said.rsplit_once("@@lanes@@ shown").unwrap().0;
        cut.lines().for_each(|line| drop(reader.read(line)));
        assert_eq!(reader.left, BTreeSet::from([0]));
    }
}
