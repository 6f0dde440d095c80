//! HTTP visitors and homes. A [`plan::Call`] is one visitor's connection, a [`plan::Ask`] one
//! request on it with the reply that its home has planned. Every byte that either end may see
//! follows from the plan ([`wire`]), so each is checked when it comes; [`judge`] says what must
//! have come of it all in a world without faults.

pub mod draw;
pub mod home;
pub mod judge;
pub mod pen;
pub mod plan;
pub mod visitor;
pub mod wire;
