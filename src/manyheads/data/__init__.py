"""Where rows come from, and what becomes of them before they are batches."""
