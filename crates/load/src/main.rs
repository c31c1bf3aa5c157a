//! `reveille-load SCENARIO.yaml`: HTTP load testing. The library has the guide.

fn main() -> std::process::ExitCode {
    reveille_load::program::main()
}
