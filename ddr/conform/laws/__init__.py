"""What the checks judge by, as pure functions: resources and answers in, what is wrong out."""
