//! `operation PLACE TIMES`: does the pure path at that place of the list so many times, for callgrind to count.

use bench::operations::{Operation, Subjects};

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let mut numbers = std::env::args().skip(1).map(|argument| argument.parse::<usize>().expect("a number"));
    let (place, times) = (numbers.next().expect("a place"), numbers.next().expect("a number of times"));
    let subjects = Subjects::prepare().await;
    let operation = Operation::all()[place];
    for _ in 0..times {
        subjects.run(operation).await;
    }
}
