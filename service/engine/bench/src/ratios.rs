// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! Reads criterion's estimates and prints them as ratios.

use std::path::PathBuf;

/// The folder of criterion's results.
pub struct Results(pub PathBuf);

impl Results {
    /// The median of a benchmark of this run, in nanoseconds.
    pub fn nanos(&self, group: &str, id: &str) -> Option<f64> {
        let file = self.0.join(group).join(id).join("new/estimates.json");
        let text = std::fs::read_to_string(file).ok()?;
        let json: serde_json::Value = serde_json::from_str(&text).ok()?;
        json["median"]["point_estimate"].as_f64()
    }

    /// Prints a group: each benchmark's time per `unit`, and its ratio to the first.
    pub fn print(&self, title: &str, group: &str, ids: &[&str], unit: (&str, f64)) {
        println!("\n{title}");
        println!("  {:<34} {:>12}   {:>9}", "", format!("ns/{}", unit.0), "ratio");
        let first = ids.first().and_then(|id| self.nanos(group, id));
        for id in ids {
            match (self.nanos(group, id), first) {
                (Some(nanos), Some(first)) => {
                    println!("  {id:<34} {:>12.1}   {:>9.2}", nanos / unit.1, nanos / first);
                }
                _ => println!("  {id:<34} {:>12}", "not run"),
            }
        }
    }

    /// Checks a ratio against its target, the most that it may be.
    pub fn target(&self, what: &str, one: (&str, &str), other: (&str, &str), most: f64) -> bool {
        let ratio = self.nanos(one.0, one.1).zip(self.nanos(other.0, other.1));
        let Some(ratio) = ratio.map(|(one, other)| one / other) else {
            println!("  {what}: not run");
            return true;
        };
        let met = ratio <= most;
        println!("  {what}: {ratio:.2} (target {most}) {}", if met { "met" } else { "MISSED" });
        met
    }
}
