//! What a person or a program is told who looks at a role: made from [`crate::status`] alone.

pub mod metrics;
