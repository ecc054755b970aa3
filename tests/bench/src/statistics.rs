//! Numbers from samples.

/// The median; 0 of none.
pub fn median(samples: Vec<f64>) -> f64 {
    percentile(samples, 0.5)
}

/// The value below which that share of the samples lies; 0 of none.
pub fn percentile(mut samples: Vec<f64>, share: f64) -> f64 {
    samples.sort_by(f64::total_cmp);
    let index = (samples.len() as f64 * share) as usize;
    samples.get(index.min(samples.len().saturating_sub(1))).copied().unwrap_or_default()
}
