//! The lines of one family, as the crate takes them.

use std::fmt;

use prometheus_client::encoding::{
    CounterValueEncoder, EncodeCounterValue, EncodeGaugeValue, GaugeValueEncoder, MetricEncoder,
    NoLabelSet,
};
use prometheus_client::metrics::MetricType;

use crate::status::{BUCKETS, Count, Histogram};

/// Where they go.
pub(super) struct Samples<'a> {
    encoder: MetricEncoder<'a>,
    kind: MetricType,
}

/// Names and values, which may hold anything: the crate escapes them.
type Labels<'a> = [(&'a str, &'a str)];

impl Samples<'_> {
    pub(super) fn new(encoder: MetricEncoder<'_>, kind: MetricType) -> Samples<'_> {
        Samples { encoder, kind }
    }

    /// One line of a gauge or of a counter.
    pub(super) fn put(&mut self, labels: &Labels<'_>, number: impl Into<Number>) -> fmt::Result {
        let number = number.into();
        let mut encoder = self.encoder.encode_family(&labels)?;
        match self.kind {
            MetricType::Counter => encoder.encode_counter::<NoLabelSet, _, u64>(&number, None),
            _ => encoder.encode_gauge(&number),
        }
    }

    /// None where there is no number.
    pub(super) fn put_any(
        &mut self,
        labels: &Labels<'_>,
        number: Option<impl Into<Number>>,
    ) -> fmt::Result {
        number.map_or(Ok(()), |number| self.put(labels, number))
    }

    /// A line for each kind.
    pub(super) fn counts(
        &mut self,
        [first, second]: [(&str, &str); 2],
        by: &str,
        counts: &[Count],
    ) -> fmt::Result {
        let mut counts = counts.iter();
        counts.try_for_each(|count| self.put(&[first, second, (by, &count.kind)], count.count))
    }

    pub(super) fn histogram(
        &mut self,
        labels: [(&str, &str); 2],
        histogram: &Histogram,
    ) -> fmt::Result {
        let bounds = BUCKETS.into_iter().chain([f64::INFINITY]);
        let buckets: Vec<(f64, u64)> = bounds.zip(histogram.counts).collect();
        let mut encoder = self.encoder.encode_family(&labels)?;
        encoder.encode_histogram::<NoLabelSet>(histogram.sum, histogram.count(), &buckets, None)
    }

    pub(super) fn info(&mut self, labels: &Labels<'_>) -> fmt::Result {
        self.encoder.encode_info(&labels)
    }
}

/// A number, written as what it is.
pub(super) enum Number {
    Whole(u64),
    Real(f64),
}

impl From<u64> for Number {
    fn from(number: u64) -> Number {
        Number::Whole(number)
    }
}

impl From<bool> for Number {
    fn from(is_so: bool) -> Number {
        Number::Whole(is_so.into())
    }
}

impl From<f64> for Number {
    fn from(number: f64) -> Number {
        Number::Real(number)
    }
}

impl EncodeGaugeValue for Number {
    fn encode(&self, encoder: &mut GaugeValueEncoder<'_>) -> fmt::Result {
        match self {
            Number::Whole(number) => EncodeGaugeValue::encode(number, encoder),
            Number::Real(number) => EncodeGaugeValue::encode(number, encoder),
        }
    }
}

impl EncodeCounterValue for Number {
    fn encode(&self, encoder: &mut CounterValueEncoder<'_>) -> fmt::Result {
        match self {
            Number::Whole(number) => EncodeCounterValue::encode(number, encoder),
            Number::Real(number) => EncodeCounterValue::encode(number, encoder),
        }
    }
}
