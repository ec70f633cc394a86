//! What is said of calls, and how it is sent: a scripted collector over in-memory connections.

mod collector;
mod mapping;
mod sending;
