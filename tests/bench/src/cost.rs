//! What a million events cost on AWS, by its public price list for us-east-1 in US dollars, without its free tiers.

use crate::cold::Cold;
use crate::whole_path::{LONG_RUN, WholePath};

/// Lambda: a million requests.
const LAMBDA_REQUESTS: f64 = 0.20;

/// Lambda on arm64: a GB-second.
const LAMBDA_GB_SECOND: f64 = 0.000_013_333_4;

/// Lambda gives a function a whole vCPU at this memory, in MB, and in proportion below.
const MEMORY_OF_A_VCPU: f64 = 1769.0;

/// API Gateway's HTTP API: a million requests of up to 512 KB.
const HTTP_API_REQUESTS: f64 = 1.00;

/// SQS FIFO: a million requests of up to 64 KB.
const FIFO_REQUESTS: f64 = 0.50;

/// Secrets Manager: a million calls ($0.05 for ten thousand).
const SECRET_CALLS: f64 = 5.00;

/// CloudWatch Logs: a GB taken in.
const LOGS_GB: f64 = 0.50;

/// A part of the bill.
#[derive(Debug, Clone)]
pub struct Item {
    /// Whose.
    pub service: String,
    /// How it is reckoned.
    pub formula: String,
    /// Dollars for a million events.
    pub dollars: f64,
}

/// The bill of a million events, each received and delivered once.
pub fn of_a_million(cold: &[Cold], path: &WholePath) -> Vec<Item> {
    let memory = memory();
    let mut items = vec![Item {
        service: "Lambda, requests".to_owned(),
        formula: format!("2 × ${LAMBDA_REQUESTS:.2}"),
        dollars: 2.0 * LAMBDA_REQUESTS,
    }];
    for name in ["receive-message", "deliver-message"] {
        let Some(function) = cold.iter().find(|function| function.name == name) else { continue };
        let wait = (function.warm - function.ours).max(0.0);
        let duration = (function.ours * MEMORY_OF_A_VCPU / memory + wait).ceil();
        items.push(Item {
            service: format!("Lambda, {name}"),
            formula: format!(
                "⌈{:.2} ms × {MEMORY_OF_A_VCPU} / {memory} + {wait:.2} ms⌉ = {duration} ms × {:.3} GB × ${LAMBDA_GB_SECOND:.10}",
                function.ours,
                memory / 1024.0,
            ),
            dollars: duration * 1000.0 * memory / 1024.0 * LAMBDA_GB_SECOND,
        });
    }
    items.push(Item {
        service: "API Gateway, HTTP API".to_owned(),
        formula: format!("1 × ${HTTP_API_REQUESTS:.2}"),
        dollars: HTTP_API_REQUESTS,
    });
    items.push(Item {
        service: "SQS FIFO".to_owned(),
        formula: format!("3 (send, receive, delete) × ${FIFO_REQUESTS:.2}"),
        dollars: 3.0 * FIFO_REQUESTS,
    });
    let calls = path.secret_calls as f64 / LONG_RUN as f64;
    items.push(Item {
        service: "Secrets Manager, calls".to_owned(),
        formula: format!("{calls:.5} calls an event × ${SECRET_CALLS:.2}"),
        dollars: calls * SECRET_CALLS,
    });
    let bytes: f64 = path.log_bytes.values().sum();
    items.push(Item {
        service: "CloudWatch Logs".to_owned(),
        formula: format!("{bytes:.0} bytes an event × ${LOGS_GB:.2} / GB"),
        dollars: bytes * 1e6 / 1e9 * LOGS_GB,
    });
    let dollars = items.iter().map(|item| item.dollars).sum();
    items.push(Item { service: "all of it".to_owned(), formula: String::new(), dollars });
    items
}

/// What ten milliseconds more of one function cost for a million events: on AWS the network is not a loopback.
pub fn of_ten_milliseconds() -> f64 {
    10.0 * 1000.0 * memory() / 1024.0 * LAMBDA_GB_SECOND
}

/// `MemorySize` of the template, in MB.
fn memory() -> f64 {
    let template = include_str!("../../../template.yaml");
    let size = template.lines().find_map(|line| line.trim().strip_prefix("MemorySize: "));
    size.and_then(|size| size.parse().ok()).expect("the template sets the memory")
}
