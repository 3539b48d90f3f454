// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! Ratios of a run, their goals, and their bounds.
//!
//! A goal is where the project wants to be; a bound is what a change must not exceed, with a margin that
//! holds on a machine that does other things too. Both are in `testbed/bench/bounds.json`.

use serde_json::Value;

/// One of them.
#[derive(Clone, Debug, PartialEq)]
pub struct Ratio {
    /// The two things that are compared, as `one / other`.
    pub name: String,
    pub value: f64,
    /// The project wants it to be this or less.
    pub goal: f64,
    /// More than this fails with `--check`.
    pub bound: f64,
}

impl Ratio {
    pub fn is_within(&self) -> bool {
        self.value <= self.bound
    }

    pub fn is_met(&self) -> bool {
        self.value <= self.goal
    }
}

/// The figure at a path: keys, separated by `/`.
pub fn figure(measured: &Value, path: &str) -> Result<f64, String> {
    let found = path.split('/').try_fold(measured, |value, key| match value {
        Value::Array(rows) => rows.get(key.parse::<usize>().ok()?),
        value => value.get(key),
    });
    found.and_then(Value::as_f64).ok_or_else(|| format!("{path} was not measured"))
}

/// The ratios that the bounds name. If no clock has counted instructions, the bounds of counted ratios are none.
pub fn of(measured: &Value, bounds: &Value, is_counted: bool) -> Result<Vec<Ratio>, String> {
    let at = |path: &str| figure(measured, path);
    let over = |one: &str, other: &str| Ok::<f64, String>(at(one)? / at(other)?.max(1.0));
    let calls = "alone/peers/two empty calls";
    let (dma, cpu) = ("alone/peers/buffersync, 4 DMA", "alone/peers/buffersync, 4 CPU");
    let floor = "handover/floor/median";
    let values = [
        over(&format!("{dma}/median"), &format!("{calls}/median"))?,
        over(&format!("{cpu}/median"), &format!("{calls} and poll, 4/median"))?,
        over("alone/peers/exchange, 4 DMA/median", "alone/peers/empty call/median")?,
        over("alone/peers/4 for 4 others, DMA/median", "alone/peers/empty call/median")?,
        over("alone/peers/4 of 40 DMA/median", "alone/peers/4 of 4 DMA/median")?,
        over("handover/clients/2/latency/median", floor)?,
        over("handover/clients/64/latency/median", floor)?,
        over("handover/clients/8/longest_wait", "handover/clients/8/median_wait")?,
        over("scale/3/call_pairs", "scale/3/locks")?,
        over("cost/time/lock_and_unlock", "cost/time/two_calls")?,
        at("cost/bytes_per_buffer")?,
        at("cost/idle_wakes")?,
        over("demo/cache_ops", "demo/bracketing_ops")?,
    ];
    let rows = bounds.as_array().filter(|rows| rows.len() == values.len());
    let rows = rows.ok_or_else(|| format!("bounds.json has not {} rows", values.len()))?;
    let ratio = |(row, value): (&Value, f64)| {
        let number = |key: &str| row[key].as_f64().ok_or_else(|| format!("a row has no {key}"));
        let name = row["name"].as_str().ok_or("a row has no name")?.to_string();
        let applies = is_counted || row["counted"] != true;
        let bound = if applies { number("bound")? } else { f64::INFINITY };
        Ok(Ratio { name, value, goal: number("goal")?, bound })
    };
    rows.iter().zip(values).map(ratio).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_figure_is_found_by_its_path_or_missed_by_name() {
        let measured = json!({ "a": { "b, 4": [1, { "c": 2.5 }] } });
        assert_eq!(figure(&measured, "a/b, 4/1/c"), Ok(2.5));
        assert!(figure(&measured, "a/x").unwrap_err().contains("a/x"));
    }

    #[test]
    fn bounds_are_kept_and_goals_are_told() {
        let ratio = Ratio { name: "x".into(), value: 1.3, goal: 1.1, bound: 1.8 };
        assert!(ratio.is_within() && !ratio.is_met());
        assert!(!Ratio { value: 1.9, ..ratio }.is_within());
    }

    #[test]
    fn the_projects_bounds_are_above_its_goals() {
        let text = std::fs::read_to_string(
            buffersync_testbed::checkout::root().join("testbed/bench/bounds.json"),
        )
        .unwrap();
        let bounds: Value = serde_json::from_str(&text).unwrap();
        for row in bounds.as_array().unwrap() {
            assert!(row["goal"].as_f64().unwrap() <= row["bound"].as_f64().unwrap(), "{row}");
        }
    }
}
