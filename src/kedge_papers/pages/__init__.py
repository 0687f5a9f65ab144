"""What is drawn from records: pages, conclusions, findings."""
