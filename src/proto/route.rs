//! The route table: which service a name belongs to.
