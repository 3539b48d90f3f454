// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! Several starts of one measurement made one.
//!
//! Programs are at other addresses each time they start (ASLR), so their memory falls into pages in another way. That
//! changes how many instructions a call takes for as long as they run. The mean of starts has less of it than one
//! start. Caches do not count: the guest's clock counts instructions.

use serde_json::{json, Map, Value};

/// Makes one of what `buffersync-bench alone` printed in each start: of each peer's figures the mean, but the greatest
/// `max` and all `samples`. A mean and not a median, so that all peers' figures have the same part of each start.
pub fn mean(starts: &[Value]) -> Result<Value, String> {
    let first = starts.first().ok_or("there was no start")?;
    let peers = first["peers"].as_object().ok_or("a start has no peers")?;
    let mut all = Map::new();
    for (peer, figures) in peers {
        let figures = figures.as_object().ok_or_else(|| format!("{peer} has no figures"))?;
        let means = figures.keys().map(|what| {
            let of = |start: &Value| start["peers"][peer][what].as_f64();
            let values: Option<Vec<f64>> = starts.iter().map(of).collect();
            let values = values.ok_or_else(|| format!("a start has no {what} of {peer}"))?;
            let sum: f64 = values.iter().sum();
            let value = match what.as_str() {
                "max" => values.into_iter().fold(0.0, f64::max),
                "samples" => sum,
                _ => sum / starts.len() as f64,
            };
            Ok((what.clone(), json!(value)))
        });
        let means: Result<Map<String, Value>, String> = means.collect();
        all.insert(peer.clone(), Value::Object(means?));
    }
    Ok(json!({ "order": first["order"], "peers": all, "starts": starts.len() }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn start(median: u64, samples: u64) -> Value {
        let figures = json!({ "median": median, "max": 2 * median, "samples": samples });
        json!({ "order": ["a"], "peers": { "a": figures } })
    }

    #[test]
    fn figures_are_means_and_the_order_stays() {
        let all = mean(&[start(10, 7), start(13, 7), start(16, 7)]).expect("a mean");
        assert_eq!(all["peers"]["a"], json!({ "median": 13.0, "max": 32.0, "samples": 21.0 }));
        assert_eq!((&all["order"], &all["starts"]), (&json!(["a"]), &json!(3)));
    }

    #[test]
    fn what_a_start_lacks_is_named() {
        let lacking = json!({ "order": ["a"], "peers": { "a": { "median": 1, "max": 1 } } });
        assert!(mean(&[start(1, 1), lacking]).unwrap_err().contains("samples of a"));
        assert!(mean(&[]).is_err());
    }
}
