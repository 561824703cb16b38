//! Statement text → [`facts::Facts`], once for each shape of statement.

pub mod facts;
