"""What all generated tasks share: cells, exact lengths, haystacks, needles, scores."""
